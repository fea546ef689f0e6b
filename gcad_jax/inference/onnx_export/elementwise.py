"""Primitives that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gcad_jax.inference.onnx_export.graph import (
    ComplexTensor,
    Graph,
    Tensor,
    Unsupported,
    element_type,
)

# JAX's name -> ONNX's, where the two mean the same.
SAME = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max"},
    **{"min": "Min", "neg": "Neg", "abs": "Abs", "sqrt": "Sqrt", "exp": "Exp"},
    **{"log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf"},
    **{"cos": "Cos", "sin": "Sin", "floor": "Floor", "ceil": "Ceil", "sign": "Sign"},
    **{"gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual"},
    **{"eq": "Equal", "pow": "Pow"},
}
OF_BOOL = {"and": "And", "or": "Or", "not": "Not", "xor": "Xor"}
UNCHANGED = ("stop_gradient", "optimization_barrier", "copy", "copy_p", "pvary")


def emit(
    graph: Graph, kind: str, dtype: Any, *operands: Tensor, **named: Any
) -> Tensor:
    """An operator of operands of one JAX shape, scalars among them."""
    shape = max((x.shape for x in operands), key=len)
    narrow = frozenset(
        axis
        for axis in range(len(shape))
        if all(axis in x.narrow for x in operands if x.rank)
    )
    names = [graph.name(x) for x in operands]
    [name] = graph.node(kind, names, **named)
    return Tensor(shape, np.dtype(dtype), name, None, narrow)


def constant_like(value: float, like: Tensor) -> Tensor:
    """A scalar of the type of a tensor."""
    return Tensor((), like.dtype, None, np.array(value, like.dtype))


def cast(graph: Graph, x: Tensor, dtype: Any) -> Tensor:
    """The same in another type."""
    if np.dtype(dtype) == x.dtype:
        return x
    return emit(graph, "Cast", dtype, x, to=element_type(np.dtype(dtype)))


def same(graph: Graph, eqn: Any, *operands: Any) -> Any:
    """A primitive of `SAME`."""
    if any(isinstance(x, ComplexTensor) for x in operands):
        return complex_arithmetic(graph, eqn, *operands)
    return emit(graph, SAME[eqn.primitive.name], eqn.outvars[0].aval.dtype, *operands)


def complex_arithmetic(
    graph: Graph, eqn: Any, a: ComplexTensor, b: ComplexTensor
) -> ComplexTensor:
    """The product, sum or difference of two complex values."""
    kind = SAME[eqn.primitive.name]

    def real(kind: str, x: Tensor, y: Tensor) -> Tensor:
        return emit(graph, kind, x.dtype, x, y)

    if kind in ("Add", "Sub"):
        parts = zip((a.real, a.imaginary), (b.real, b.imaginary), strict=True)
        return ComplexTensor(*(real(kind, *pair) for pair in parts))
    if kind != "Mul":
        raise Unsupported(f"{eqn.primitive.name} of complex numbers is not converted.")
    return ComplexTensor(
        real("Sub", real("Mul", a.real, b.real), real("Mul", a.imaginary, b.imaginary)),
        real("Add", real("Mul", a.real, b.imaginary), real("Mul", a.imaginary, b.real)),
    )


def of_bool(graph: Graph, eqn: Any, *operands: Tensor) -> Tensor:
    """A primitive of `OF_BOOL`."""
    if any(x.dtype != np.bool_ for x in operands):
        raise Unsupported(f"{eqn.primitive.name} of whole numbers is not converted.")
    return emit(graph, OF_BOOL[eqn.primitive.name], np.bool_, *operands)


def not_equal(graph: Graph, eqn: Any, a: Tensor, b: Tensor) -> Tensor:
    """`ne`, which ONNX has not."""
    return emit(graph, "Not", np.bool_, emit(graph, "Equal", np.bool_, a, b))


def convert_type(graph: Graph, eqn: Any, x: Tensor) -> Any:
    """`convert_element_type`."""
    dtype = np.dtype(eqn.params["new_dtype"])
    if dtype == np.complex64:
        zero = constant_like(0, cast(graph, x, np.float32))
        real = cast(graph, x, np.float32)
        return ComplexTensor(real, emit(graph, "Mul", np.float32, real, zero))
    return cast(graph, x, dtype)


def square(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """`square`."""
    return emit(graph, "Mul", x.dtype, x, x)


def integer_pow(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """`integer_pow`."""
    if eqn.params["y"] == 2:
        return square(graph, eqn, x)
    return emit(graph, "Pow", x.dtype, x, constant_like(eqn.params["y"], x))


def rsqrt(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """`rsqrt`."""
    root = emit(graph, "Sqrt", x.dtype, x)
    return emit(graph, "Reciprocal", x.dtype, root)


def select(graph: Graph, eqn: Any, which: Tensor, *cases: Tensor) -> Tensor:
    """`select_n` of two cases."""
    if len(cases) != 2:
        raise Unsupported(f"a choice of {len(cases)} cases is not converted.")
    which = cast(graph, which, np.bool_)
    return emit(graph, "Where", cases[0].dtype, which, cases[1], cases[0])


def clamp(graph: Graph, eqn: Any, low: Tensor, x: Tensor, high: Tensor) -> Tensor:
    """`clamp`."""
    above = emit(graph, "Max", x.dtype, low, x)
    return emit(graph, "Min", x.dtype, above, high)


def remainder(graph: Graph, eqn: Any, a: Tensor, b: Tensor) -> Tensor:
    """`rem`, with the sign of the dividend."""
    return emit(graph, "Mod", a.dtype, a, b, fmod=1)


def unchanged(graph: Graph, eqn: Any, *operands: Any) -> Any:
    """What XLA is told, and a value is not."""
    return operands if eqn.primitive.multiple_results else operands[0]


def conjugate(graph: Graph, eqn: Any, x: ComplexTensor) -> ComplexTensor:
    """`conj`."""
    return ComplexTensor(x.real, emit(graph, "Neg", np.float32, x.imaginary))


def real_part(graph: Graph, eqn: Any, x: ComplexTensor) -> Tensor:
    """`real`."""
    return x.real


RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(SAME, same),
    **dict.fromkeys(OF_BOOL, of_bool),
    **dict.fromkeys(UNCHANGED, unchanged),
    "ne": not_equal,
    "convert_element_type": convert_type,
    "square": square,
    "integer_pow": integer_pow,
    "rsqrt": rsqrt,
    "select_n": select,
    "clamp": clamp,
    "rem": remainder,
    "conj": conjugate,
    "real": real_part,
}
