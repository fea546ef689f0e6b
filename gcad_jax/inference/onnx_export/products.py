"""Primitives that sum: products of matrices, convolutions, windows, reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.lax import FftType

from gcad_jax.inference.onnx_export.elementwise import cast, constant_like, emit
from gcad_jax.inference.onnx_export.graph import (
    ComplexTensor,
    Graph,
    Tensor,
    Unsupported,
    size,
)
from gcad_jax.inference.onnx_export.shapes import numbers, permute

LETTERS = "abcdefghijklmnopqrstuvwxyz"
REDUCE = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax"}
REDUCE |= {"reduce_min": "ReduceMin", "reduce_prod": "ReduceProd"}


def dot_general(graph: Graph, eqn: Any, a: Tensor, b: Tensor) -> Tensor:
    """`dot_general`: MatMul where the axes lie right, else Einsum."""
    (left, right), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    aval = eqn.outvars[0].aval
    a, b = (
        cast(graph, graph.full(a), aval.dtype),
        cast(graph, graph.full(b), aval.dtype),
    )
    if not left_batch and len(left) == 1:
        rest = [axis for axis in range(a.rank) if axis != left[0]]
        others = [axis for axis in range(b.rank) if axis != right[0]]
        if len(others) <= 1:
            first = permute(graph, a, [*rest, left[0]])
            second = permute(graph, b, [right[0], *others])
            [name] = graph.node("MatMul", [graph.name(first), graph.name(second)])
            return Tensor(aval.shape, aval.dtype, name)
    letters = iter(LETTERS)
    of_a = [next(letters) for _ in range(a.rank)]
    of_b = [next(letters) for _ in range(b.rank)]
    for i, j in zip((*left, *left_batch), (*right, *right_batch), strict=True):
        of_b[j] = of_a[i]
    result = [of_a[i] for i in left_batch]
    result += [x for i, x in enumerate(of_a) if i not in (*left, *left_batch)]
    result += [x for j, x in enumerate(of_b) if j not in (*right, *right_batch)]
    equation = f"{''.join(of_a)},{''.join(of_b)}->{''.join(result)}"
    names = [graph.name(a), graph.name(b)]
    [name] = graph.node("Einsum", names, equation=equation)
    return Tensor(aval.shape, aval.dtype, name)


def convolution(graph: Graph, eqn: Any, x: Tensor, kernel: Tensor) -> Tensor:
    """`conv_general_dilated`, in whatever layout."""
    params = eqn.params
    numbering = params["dimension_numbers"]
    if params["batch_group_count"] != 1 or any(n != 1 for n in params["lhs_dilation"]):
        raise Unsupported("a convolution of a spread input is not converted.")
    aval = eqn.outvars[0].aval
    x = permute(graph, graph.full(x), numbering.lhs_spec)
    kernel = permute(graph, graph.full(kernel), numbering.rhs_spec)
    pads = [low for low, _ in params["padding"]] + [
        high for _, high in params["padding"]
    ]
    x, pads = _pad_if_negative(graph, x, pads)
    [name] = graph.node(
        "Conv",
        [graph.name(x), graph.name(kernel)],
        strides=list(params["window_strides"]),
        pads=pads,
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
        kernel_shape=list(kernel.shape[2:]),
    )
    shape = tuple(aval.shape[axis] for axis in numbering.out_spec)
    result = Tensor(shape, aval.dtype, name)
    return permute(graph, result, np.argsort(numbering.out_spec).tolist())


def _pad_if_negative(
    graph: Graph, x: Tensor, pads: list[int]
) -> tuple[Tensor, list[int]]:
    """Cuts first where a convolution has a negative border, which ONNX has not."""
    if min(pads) >= 0:
        return x, [int(n) for n in pads]
    half = len(pads) // 2
    every = [0, 0, *pads[:half], 0, 0, *pads[half:]]
    zero = graph.initializer(np.zeros((), x.dtype))
    [name] = graph.node("Pad", [graph.name(x), numbers(graph, *every), zero])
    return Tensor((None,) * x.rank, x.dtype, name), [0] * len(pads)


def reduce(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """A primitive of `REDUCE`."""
    axes = tuple(eqn.params["axes"])
    kind = REDUCE[eqn.primitive.name]
    idle = kind in ("ReduceMax", "ReduceMin")  # repeats change nothing
    x = x if idle and x.narrow <= set(axes) else graph.full(x)
    return _reduce(graph, eqn, kind, x)


def _reduce(graph: Graph, eqn: Any, kind: str, x: Tensor) -> Tensor:
    aval = eqn.outvars[0].aval
    axes = numbers(graph, *eqn.params["axes"])
    [name] = graph.node(kind, [graph.name(x), axes], keepdims=0)
    return Tensor(aval.shape, aval.dtype, name)


def reduce_bool(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """`reduce_and` and `reduce_or` of truth values."""
    kind = "ReduceMin" if eqn.primitive.name == "reduce_and" else "ReduceMax"
    found = _reduce(graph, eqn, kind, graph.full(cast(graph, x, np.int32)))
    found = Tensor(found.shape, np.dtype(np.int32), found.name)
    return cast(graph, found, np.bool_)


def argument(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """`argmax` and `argmin`: the first, where there are several."""
    kind = "ArgMax" if eqn.primitive.name == "argmax" else "ArgMin"
    [axis], aval = eqn.params["axes"], eqn.outvars[0].aval
    [name] = graph.node(kind, [graph.full_name(x)], axis=axis, keepdims=0)
    found = Tensor(aval.shape, np.dtype(np.int64), name)
    return cast(graph, found, aval.dtype)


def top_k(graph: Graph, eqn: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """`top_k`: the largest and where they are, in falling order."""
    axis = eqn.params.get("axis", x.rank - 1) % x.rank
    values, places = (out.aval for out in eqn.outvars)
    names = [graph.full_name(x), numbers(graph, eqn.params["k"])]
    best, where = graph.node("TopK", names, 2, axis=axis, largest=1, sorted=1)
    found = Tensor(places.shape, np.dtype(np.int64), where)
    return Tensor(values.shape, values.dtype, best), cast(graph, found, places.dtype)


def window(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """`reduce_window_sum` and `reduce_window_max`."""
    params = eqn.params
    sides, steps = params["window_dimensions"], params["window_strides"]
    padding = params["padding"]
    if any(n != 1 for n in (*params["base_dilation"], *params["window_dilation"])):
        raise Unsupported("a window with holes is not converted.")
    moved = [
        axis
        for axis in range(x.rank)
        if sides[axis] > 1 or steps[axis] > 1 or any(padding[axis])
    ]
    rest = [axis for axis in range(x.rank) if axis not in moved]
    if len(rest) != 2:
        raise Unsupported(f"a window over {len(moved)} axes is not converted.")
    order = [*rest, *moved]
    aval = eqn.outvars[0].aval
    x = permute(graph, graph.full(x), order)
    largest = eqn.primitive.name == "reduce_window_max"
    named = {} if largest else {"count_include_pad": 1}
    [name] = graph.node(
        "MaxPool" if largest else "AveragePool",
        [graph.name(x)],
        kernel_shape=[sides[axis] for axis in moved],
        strides=[steps[axis] for axis in moved],
        pads=[int(padding[axis][end]) for end in (0, 1) for axis in moved],
        **named,
    )
    found = Tensor(tuple(aval.shape[axis] for axis in order), aval.dtype, name)
    if not largest:
        found = emit(graph, "Mul", x.dtype, found, constant_like(size(sides), x))
    return permute(graph, found, np.argsort(order).tolist())


def fourier(graph: Graph, eqn: Any, x: ComplexTensor) -> ComplexTensor:
    """`fft` of complex values, forwards or back, as products of matrices.

    ONNX has DFT, which ONNX Runtime computes on one core and, for other sides than
    powers of two, by the definition.
    """
    kind, lengths = FftType(eqn.params["fft_type"]), eqn.params["fft_lengths"]
    inverse = kind == FftType.IFFT
    if kind not in (FftType.FFT, FftType.IFFT) or not isinstance(x, ComplexTensor):
        raise Unsupported("a Fourier transform of real values is not converted.")
    rank = x.real.rank
    for axis in range(rank - len(lengths), rank):
        count = int(x.real.shape[axis])
        turns = np.outer(np.arange(count), np.arange(count)) % count / count
        sign, scale = (1, 1 / count) if inverse else (-1, 1)
        waves = np.exp(sign * 2j * np.pi * turns) * scale
        x = _along(graph, x, axis, waves.real, waves.imag)
    return x


def _along(
    graph: Graph, x: ComplexTensor, axis: int, cosine: np.ndarray, sine: np.ndarray
) -> ComplexTensor:
    """The product of an axis and a symmetric complex matrix."""
    parts = [_to_last(graph, graph.full(part), axis) for part in (x.real, x.imaginary)]
    real, imaginary = parts

    def times(part: Tensor, matrix: np.ndarray) -> Tensor:
        constant = graph.initializer(matrix.astype(np.float32))
        [name] = graph.node("MatMul", [graph.name(part), constant])
        return Tensor(part.shape, part.dtype, name)

    found = (
        emit(graph, "Sub", np.float32, times(real, cosine), times(imaginary, sine)),
        emit(graph, "Add", np.float32, times(real, sine), times(imaginary, cosine)),
    )
    return ComplexTensor(*(_to_last(graph, part, axis) for part in found))


def _to_last(graph: Graph, x: Tensor, axis: int) -> Tensor:
    """An axis and the last one in each other's place."""
    order = list(range(x.rank))
    order[axis], order[-1] = order[-1], order[axis]
    return permute(graph, x, order)


RULES: dict[str, Callable[..., Any]] = {
    "dot_general": dot_general,
    "conv_general_dilated": convolution,
    **dict.fromkeys(REDUCE, reduce),
    **dict.fromkeys(("reduce_and", "reduce_or"), reduce_bool),
    **dict.fromkeys(("argmax", "argmin"), argument),
    "top_k": top_k,
    "reduce_window_sum": window,
    "reduce_window_max": window,
    "fft": fourier,
}
