"""Primitives that move values: reshape, transpose, slice, gather, pad, concatenate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from gcad_jax.inference.onnx_export.elementwise import cast, emit
from gcad_jax.inference.onnx_export.graph import (
    INT64,
    ComplexTensor,
    Graph,
    Shape,
    Tensor,
    Unsupported,
)


def numbers(graph: Graph, *values: int) -> str:
    """The name of a constant list of whole numbers."""
    return graph.initializer(np.array(values, np.int64))


def kept(x: Tensor) -> Shape:
    """The lengths with which a tensor is kept."""
    return tuple(1 if axis in x.narrow else dim for axis, dim in enumerate(x.shape))


def permute(graph: Graph, x: Tensor, axes: Sequence[int]) -> Tensor:
    """The same with its axes in another order."""
    if list(axes) == list(range(x.rank)):
        return x
    shape = tuple(x.shape[axis] for axis in axes)
    narrow = frozenset(new for new, old in enumerate(axes) if old in x.narrow)
    if x.constant is not None:
        return Tensor(shape, x.dtype, None, x.constant.transpose(axes), narrow)
    [name] = graph.node("Transpose", [graph.name(x)], perm=list(axes))
    return Tensor(shape, x.dtype, name, None, narrow)


def transpose(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """`transpose`."""
    return permute(graph, x, eqn.params["permutation"])


def to_shape(graph: Graph, x: Tensor, shape: Shape) -> Tensor:
    """The same elements in another shape."""
    if x.shape == shape:
        return x
    if x.constant is not None and not x.narrow:
        return Tensor(shape, x.dtype, None, x.constant.reshape(shape))
    return Tensor(shape, x.dtype, graph.reshape(graph.full_name(x), shape))


def reshape(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """`reshape`, `squeeze` and `expand_dims`."""
    return to_shape(graph, x, eqn.outvars[0].aval.shape)


def broadcast(graph: Graph, eqn: Any, x: Any, *_: Any) -> Any:
    """`broadcast_in_dim`: nothing is repeated before something needs it."""
    if isinstance(x, ComplexTensor):
        return ComplexTensor(
            broadcast(graph, eqn, x.real), broadcast(graph, eqn, x.imaginary)
        )
    shape = eqn.outvars[0].aval.shape
    axes = list(eqn.params["broadcast_dimensions"])
    lengths, given = [1] * len(shape), kept(x)
    for old, new in enumerate(axes):
        lengths[new] = given[old]
    pairs = enumerate(zip(lengths, shape, strict=True))
    narrow = frozenset(axis for axis, (now, dim) in pairs if not _equal(now, dim))
    if x.constant is not None:
        return Tensor(shape, x.dtype, None, x.constant.reshape(lengths), narrow)
    name = graph.name(x)
    if tuple(lengths) != given:
        name = graph.reshape(name, tuple(lengths))
    return Tensor(shape, x.dtype, name, None, narrow)


def _equal(a: Any, b: Any) -> bool:
    return isinstance(a, int) == isinstance(b, int) and bool(a == b)


def take_slice(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """`slice`."""
    starts, limits = eqn.params["start_indices"], eqn.params["limit_indices"]
    steps = eqn.params["strides"] or (1,) * x.rank
    return strided(graph, x, starts, limits, steps)


def strided(
    graph: Graph, x: Tensor, starts: Shape, limits: Shape, steps: Sequence[int]
) -> Tensor:
    """Elements from starts to limits; along a symbolic axis all or none are taken."""
    shape, cut = [], []
    for axis, dim in enumerate(x.shape):
        start, limit, step = starts[axis], limits[axis], steps[axis]
        if _equal(start, 0) and _equal(limit, dim) and step == 1:
            shape.append(dim)
            continue
        if not all(isinstance(n, int | np.integer) for n in (start, limit, dim)):
            raise Unsupported("a part of the images of a call is not converted.")
        shape.append(-(-(int(limit) - int(start)) // step))
        if axis not in x.narrow:
            cut.append((int(start), int(limit), axis, step))
    if not cut:
        return Tensor(tuple(shape), x.dtype, x.name, x.constant, x.narrow)
    inputs = [numbers(graph, *column) for column in zip(*cut, strict=True)]
    [name] = graph.node("Slice", [graph.name(x), *inputs])
    return Tensor(tuple(shape), x.dtype, name, None, x.narrow)


def reverse(graph: Graph, eqn: Any, x: Tensor) -> Tensor:
    """`rev`."""
    axes = [axis for axis in eqn.params["dimensions"] if axis not in x.narrow]
    count = len(axes)
    ends = np.iinfo(np.int64).min
    [name] = graph.node(
        "Slice",
        [
            graph.name(x),
            numbers(graph, *[-1] * count),
            numbers(graph, *[ends] * count),
            numbers(graph, *axes),
            numbers(graph, *[-1] * count),
        ],
    )
    return Tensor(x.shape, x.dtype, name, None, x.narrow)


def concatenate(graph: Graph, eqn: Any, *parts: Tensor) -> Tensor:
    """`concatenate`."""
    aval = eqn.outvars[0].aval
    names = [graph.full_name(part) for part in parts if 0 not in part.shape]
    [name] = graph.node("Concat", names, axis=eqn.params["dimension"])
    return Tensor(aval.shape, parts[0].dtype, name)


def stack(graph: Graph, eqn: Any, *parts: Tensor) -> Tensor:
    """`stack`."""
    aval = eqn.outvars[0].aval
    axis = eqn.params["axis"] % aval.ndim
    shape = (*aval.shape[:axis], 1, *aval.shape[axis + 1 :])
    names = [graph.full_name(to_shape(graph, part, shape)) for part in parts]
    [name] = graph.node("Concat", names, axis=axis)
    return Tensor(aval.shape, parts[0].dtype, name)


def pad(graph: Graph, eqn: Any, x: Tensor, value: Tensor) -> Tensor:
    """`pad` with a constant, also by less than nothing; not between elements."""
    config = eqn.params["padding_config"]
    if any(interior for _, _, interior in config):
        raise Unsupported("padding between elements is not converted.")
    if not any(low or high for low, high, _ in config):
        return x
    pads = [low for low, _, _ in config] + [high for _, high, _ in config]
    names = [graph.full_name(x), numbers(graph, *pads), graph.name(value)]
    [name] = graph.node("Pad", names)
    return Tensor(eqn.outvars[0].aval.shape, x.dtype, name)


def dynamic_slice(graph: Graph, eqn: Any, x: Tensor, *starts: Tensor) -> Tensor:
    """`dynamic_slice`: a start that reaches too far is moved back."""
    sizes = eqn.params["slice_sizes"]
    axes = [axis for axis, dim in enumerate(x.shape) if not _equal(dim, sizes[axis])]
    if not axes:
        return x
    first = []
    for axis in axes:
        room = Tensor((), INT64, None, np.array(x.shape[axis] - sizes[axis], np.int64))
        zero = Tensor((), INT64, None, np.array(0, np.int64))
        start = cast(graph, starts[axis], np.int64)
        start = emit(graph, "Max", np.int64, start, zero)
        start = emit(graph, "Min", np.int64, start, room)
        first.append(graph.reshape(graph.name(start), (1,)))
    begin = first[0] if len(first) == 1 else graph.node("Concat", first, axis=0)[0]
    count = numbers(graph, *(sizes[axis] for axis in axes))
    [end] = graph.node("Add", [begin, count])
    names = [graph.full_name(x), begin, end, numbers(graph, *axes)]
    [name] = graph.node("Slice", names)
    return Tensor(tuple(sizes), x.dtype, name)


def gather(graph: Graph, eqn: Any, x: Tensor, indices: Tensor) -> Tensor:
    """`gather` of whole rows, or of one slice at a constant place."""
    numbering, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    indexed, dropped = numbering.start_index_map, numbering.collapsed_slice_dims
    if numbering.operand_batching_dims:
        raise Unsupported("a look-up of rows for each image is not converted.")
    constant = None
    if indices.constant is not None:
        constant = np.broadcast_to(indices.constant, indices.shape)
        _check_inside(constant, [x.shape[a] - sizes[a] for a in indexed])
    if constant is not None and constant.ndim == 1:
        starts: list[Any] = [0] * x.rank
        for axis, start in zip(indexed, constant, strict=True):
            starts[axis] = int(start)
        pairs = list(zip(starts, sizes, strict=True))
        limits = tuple(start + size if start else size for start, size in pairs)
        part = strided(graph, x, tuple(starts), limits, (1,) * x.rank)
        return to_shape(graph, graph.full(part), eqn.outvars[0].aval.shape)
    whole = all(_equal(sizes[a], d) for a, d in enumerate(x.shape) if a not in dropped)
    if set(indexed) != set(dropped) or not whole:
        raise Unsupported("a look-up of parts of rows is not converted.")
    x = graph.full(x)
    rest = [axis for axis in range(x.rank) if axis not in indexed]
    grid = None if constant is None else _grid(constant)
    if grid is not None:
        name = graph.name(x)
        for axis, places in zip(indexed, grid, strict=True):
            name = _take(graph, name, axis, places)
        order = [*indexed, *rest]
    else:
        name = _look_up(graph, eqn, x, indices, rest)
        order = [*range(indices.rank - 1 + len(rest))]
    # The axes of the indices come in their order, the others at their place.
    offsets = list(numbering.offset_dims)
    aval = eqn.outvars[0].aval
    batch = [axis for axis in range(aval.ndim) if axis not in offsets]
    target = dict(zip((*batch, *offsets), order, strict=True))
    result = Tensor((None,) * aval.ndim, x.dtype, name)
    moved = permute(graph, result, [target[axis] for axis in range(aval.ndim)])
    return Tensor(aval.shape, x.dtype, moved.name)


def _look_up(
    graph: Graph, eqn: Any, x: Tensor, indices: Tensor, rest: Sequence[int]
) -> str:
    """Rows at indices that the program computes: first their axes, then the others."""
    indexed = list(eqn.params["dimension_numbers"].start_index_map)
    limits = [x.shape[axis] - 1 for axis in indexed]
    if (
        eqn.params["mode"] == GatherScatterMode.FILL_OR_DROP
        and indices.constant is None
    ):
        raise Unsupported("a look-up that may leave the array is not converted.")
    wide = cast(graph, graph.full(indices), np.int64)
    high = Tensor((len(limits),), INT64, None, np.array(limits, np.int64))
    low = Tensor((len(limits),), INT64, None, np.zeros(len(limits), np.int64))
    wide = emit(graph, "Max", np.int64, wide, low)
    wide = emit(graph, "Min", np.int64, wide, high)
    rows = permute(graph, x, [*indexed, *rest])
    return graph.node("GatherND", [graph.name(rows), graph.name(wide)])[0]


def _check_inside(indices: np.ndarray, highest: Sequence[Any]) -> None:
    inside = all(
        not isinstance(high, int) or np.all((column >= 0) & (column <= high))
        for column, high in zip(np.moveaxis(indices, -1, 0), highest, strict=True)
    )
    if not inside:
        raise Unsupported("a look-up outside of an array is not converted.")


def _grid(indices: np.ndarray) -> list[np.ndarray] | None:
    """Places along each axis, where the indices (n_1, ..., n_k, k) are their grid."""
    count = indices.shape[-1]
    if indices.ndim != count + 1:
        return None
    places = []
    for axis in range(count):
        column = np.moveaxis(indices[..., axis], axis, 0).reshape(
            indices.shape[axis], -1
        )
        if np.any(column != column[:, :1]):
            return None
        places.append(column[:, 0].astype(np.int64))
    return places


def _take(graph: Graph, name: str, axis: int, places: np.ndarray) -> str:
    """Elements along an axis; a slice where their places are evenly apart."""
    steps = set(np.diff(places))
    if len(steps) <= 1 and all(step > 0 for step in steps):
        step = int(steps.pop()) if steps else 1
        limits = (int(places[0]), int(places[-1]) + 1, axis, step)
        names = [numbers(graph, number) for number in limits]
        return graph.node("Slice", [name, *names])[0]
    return graph.node("Gather", [name, graph.initializer(places)], axis=axis)[0]


def iota(graph: Graph, eqn: Any, *_: Tensor) -> Tensor:
    """`iota`."""
    aval, axis = eqn.outvars[0].aval, eqn.params["dimension"]
    if not all(isinstance(dim, int) for dim in aval.shape):
        raise Unsupported("numbers of the images of a call are not converted.")
    count = np.arange(aval.shape[axis], dtype=aval.dtype)
    shape = [1] * aval.ndim
    shape[axis] = -1
    narrow = frozenset(a for a, d in enumerate(aval.shape) if a != axis and d != 1)
    return Tensor(aval.shape, aval.dtype, None, count.reshape(shape), narrow)


RULES: dict[str, Callable[..., Any]] = {
    "transpose": transpose,
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), reshape),
    "broadcast_in_dim": broadcast,
    "slice": take_slice,
    "rev": reverse,
    "concatenate": concatenate,
    "stack": stack,
    "pad": pad,
    "dynamic_slice": dynamic_slice,
    "gather": gather,
    "iota": iota,
}
