"""An ONNX graph while it is built: nodes, constants, and shapes that hold a symbol."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from gcad_jax.core.errors import UserError

OPSET = 18  # of 2022
IR_VERSION = 10
INT64 = np.dtype(np.int64)
SYMBOL = "b"  # images of a call, the only symbol of a traced network

Dim: TypeAlias = Any  # an int, or a polynomial of symbols, as JAX has it
Shape: TypeAlias = tuple[Dim, ...]


class Unsupported(UserError):
    """What the traced program does has no counterpart in ONNX here."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the program.

    shape: as JAX has it. name: in the graph; None where it is a constant that nothing
    has asked for. narrow: axes along which it is kept with length 1 and stands for
    repeats, which elementwise operators do by themselves.
    """

    shape: Shape
    dtype: np.dtype
    name: str | None = None
    constant: np.ndarray | None = None
    narrow: frozenset[int] = frozenset()

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class ComplexTensor:
    """A complex value: ONNX has its parts."""

    real: Tensor
    imaginary: Tensor


def affine(dim: Dim) -> tuple[int, int]:
    """(k, c) of a length k b + c; raises Unsupported for another."""
    if isinstance(dim, (int, np.integer)):
        return 0, int(dim)
    at = [int(dim._evaluate({SYMBOL: n})) for n in (1, 2, 5)]
    slope = at[1] - at[0]
    if at[2] != at[0] + 4 * slope:
        raise Unsupported(f"a length of {dim} elements has no counterpart in ONNX.")
    return slope, at[0] - slope


class Graph:
    """Nodes in their order; a body of a loop is a graph with a parent.

    Constants live in the outermost graph, and each once.
    """

    def __init__(self, parent: Graph | None = None) -> None:
        self.parent = parent
        self.root: Graph = parent.root if parent else self
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.known: dict[Any, str] = {}  # constants by their digest, and lengths
        self.done: dict[Any, list[str]] = {}  # operators
        self.count = 0

    def new_name(self, prefix: str) -> str:
        """A name that nothing else has."""
        self.root.count += 1
        return f"{prefix}_{self.root.count}"

    def node(
        self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any
    ) -> list[str]:
        """Adds an operator, unless it is there; the names of its results."""
        key = (kind, *inputs, outputs, str(sorted(attributes.items())))
        there = self._find(key) if kind != "Scan" else None
        if there is not None:
            return there
        names = [self.new_name(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        self.done[key] = names
        return names

    def _find(self, key: Any) -> list[str] | None:
        """The results of an operator that this graph or one around it has."""
        if key in self.done:
            return self.done[key]
        return self.parent._find(key) if self.parent else None

    def initializer(self, array: np.ndarray) -> str:
        """The name of a constant."""
        root, array = self.root, np.asarray(array)
        digest = hashlib.blake2b(array.tobytes()).digest()
        key = (array.dtype.str, array.shape, digest)
        if key not in root.known:
            name = self.new_name("constant")
            root.initializers.append(
                numpy_helper.from_array(
                    np.ascontiguousarray(array).reshape(array.shape), name
                )
            )
            root.known[key] = name
        return root.known[key]

    def name(self, tensor: Tensor) -> str:
        """The name of a tensor as it is kept, narrow axes of length 1."""
        if tensor.name is not None:
            return tensor.name
        assert tensor.constant is not None
        return self.initializer(tensor.constant)

    def full(self, tensor: Tensor) -> Tensor:
        """The same without narrow axes."""
        if not tensor.narrow:
            return tensor
        [name] = self.node("Expand", [self.name(tensor), self.lengths(tensor.shape)])
        return Tensor(tensor.shape, tensor.dtype, name)

    def full_name(self, tensor: Tensor) -> str:
        """Its name, without narrow axes."""
        return self.name(self.full(tensor))

    def length(self, dim: Dim) -> str:
        """The name of a length, (1,) int64."""
        slope, rest = affine(dim)
        if not slope:
            return self.initializer(np.array([rest], np.int64))
        root = self.root  # which computes it before any loop
        key = ("length", slope, rest)
        if key not in root.known:
            name = root.known["batch"]
            for kind, operand, neutral in (("Mul", slope, 1), ("Add", rest, 0)):
                if operand != neutral:
                    constant = root.initializer(np.array([operand], np.int64))
                    [name] = root.node(kind, [name, constant])
            root.known[key] = name
        return root.known[key]

    def lengths(self, shape: Shape) -> str:
        """The name of a shape, (rank,) int64."""
        if all(isinstance(dim, int) for dim in shape):
            return self.initializer(np.array(shape, np.int64))
        return self.node("Concat", [self.length(dim) for dim in shape], axis=0)[0]

    def reshape(self, name: str, shape: Shape) -> str:
        """The name of a tensor in another shape."""
        symbolic = [i for i, dim in enumerate(shape) if not isinstance(dim, int)]
        if len(symbolic) == 1 and 0 not in shape:
            known = [-1 if i in symbolic else dim for i, dim in enumerate(shape)]
            target = self.initializer(np.array(known, np.int64))
        else:
            target = self.lengths(shape)
        return self.node("Reshape", [name, target])[0]

    def to_proto(
        self,
        name: str,
        inputs: Sequence[tuple[str, np.dtype, Shape]],
        outputs: Sequence[tuple[str, np.dtype, Shape]],
    ) -> onnx.GraphProto:
        """The finished graph."""
        return helper.make_graph(
            self.nodes,
            name,
            [value_info(*value) for value in inputs],
            [value_info(*value) for value in outputs],
            self.initializers,
        )


def value_info(name: str, dtype: np.dtype, shape: Shape) -> onnx.ValueInfoProto:
    """How ONNX declares a tensor; a symbolic length by its name."""
    lengths = [dim if isinstance(dim, int) else str(dim) for dim in shape]
    return helper.make_tensor_value_info(name, element_type(dtype), lengths)


def element_type(dtype: np.dtype) -> int:
    """ONNX's number of a type; raises Unsupported where it is not used here."""
    if str(dtype) in ("bfloat16", "complex64", "complex128"):
        raise Unsupported(f"numbers of type {dtype} have no counterpart in ONNX here.")
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def size(shape: Shape) -> int:
    """Elements of a shape without symbols."""
    return math.prod(shape)
