"""Zoom of images to the network's size and of maps back, as products of matrices.

ONNX's Resize would do neither: with a filter that widens it rounds pixels otherwise
than Pillow (ONNX Runtime 1.32: one gray level in 0.1 % of the pixels), and its
coordinates are float32 (1e-5 of the range of a map).
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from gcad_jax.data.resize import BITS
from gcad_jax.inference.onnx_export.graph import Graph
from gcad_jax.inference.onnx_export.shapes import numbers

DOUBLE = np.dtype(np.float64)


class Arithmetic:
    """Whole numbers in float64, in which all of these are exact."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __call__(self, kind: str, *operands: str | np.ndarray | float) -> str:
        """One operator of names, arrays or numbers."""
        names = [x if isinstance(x, str) else self.array(x) for x in operands]
        return self.graph.node(kind, names)[0]

    def array(self, values: np.ndarray | float) -> str:
        """The name of a constant."""
        return self.graph.initializer(np.asarray(values, DOUBLE))

    def cast(self, name: str, kind: str) -> str:
        """The same in another type, as ONNX calls it."""
        return self.graph.node("Cast", [name], to=getattr(TensorProto, kind))[0]

    def count(self, length: str) -> tuple[str, str]:
        """A length (1,) int64 as a number (), and the numbers below it (n,)."""
        scalar = self.graph.node("Squeeze", [self.cast(length, "DOUBLE")])[0]
        return scalar, self("Range", 0.0, scalar, 1.0)


def zoom_images(graph: Graph, images: str, size: tuple[int, int]) -> str:
    """Images (b, H, W, C) uint8 of any size to (b, h, w, C) uint8, as Pillow has it.

    To the bit, as `data.resize.resize_images_jnp`, whose weights these are.
    """
    lengths = graph.node("Shape", [images])[0]
    rows, columns = (
        graph.node("Gather", [lengths, numbers(graph, axis)])[0] for axis in (1, 2)
    )
    [turned] = graph.node("Transpose", [images], perm=[0, 1, 3, 2])  # (b, H, C, W)
    wide = _zoom_last(graph, turned, columns, size[1])
    [turned] = graph.node("Transpose", [wide], perm=[0, 2, 3, 1])  # (b, C, w, H)
    done = _zoom_last(graph, turned, rows, size[0])
    return graph.node("Transpose", [done], perm=[0, 3, 2, 1])[0]


def _zoom_last(graph: Graph, images: str, old: str, new: int) -> str:
    """The last axis, of the length (1,) `old`, to `new` pixels.

    Products of bytes, which are summed in 32 bits: each weight has three of them.
    """
    half, one, top = (
        graph.initializer(np.array(n, np.int32))
        for n in (1 << (BITS - 1), 1 << BITS, 255)
    )
    rounded = half
    for place, part in zip((1, 2**8, 2**16), _weights(graph, old, new), strict=True):
        [sums] = graph.node("MatMulInteger", [images, part])
        factor = graph.initializer(np.array(place, np.int32))
        [shifted] = graph.node("Mul", [sums, factor])
        [rounded] = graph.node("Add", [shifted, rounded])
    pixels = graph.node("Min", [graph.node("Div", [rounded, one])[0], top])[0]
    return Arithmetic(graph).cast(pixels, "UINT8")


def _weights(graph: Graph, old: str, new: int) -> list[str]:
    """Pillow's weights of each old pixel in each new one: their three bytes (old, new).

    As `data.resize` explains them: a triangle, lengths in halves of an old pixel, times
    `new`, so that all are whole numbers.
    """
    do = Arithmetic(graph)
    count, places = do.count(old)
    places = graph.node("Unsqueeze", [places, numbers(graph, 1)])[0]
    centers = do("Mul", count, 2 * np.arange(new)[None] + 1)
    reach = do("Mul", do("Max", count, new), 2)
    own = do("Mul", do("Add", do("Mul", places, 2), 1), new)
    apart = do("Abs", do("Sub", own, centers))
    part = do("Max", do("Sub", reach, apart), 0)
    whole = graph.node("ReduceSum", [part, numbers(graph, 0)], keepdims=1)[0]
    ratio = do("Div", do("Mul", part, 1 << BITS), whole)
    share = do("Floor", do("Add", ratio, 0.5))
    high = do("Floor", do("Div", share, 2**16))
    rest = do("Sub", share, do("Mul", high, 2**16))
    middle = do("Floor", do("Div", rest, 2**8))
    low = do("Sub", rest, do("Mul", middle, 2**8))
    return [do.cast(byte, "UINT8") for byte in (low, middle, high)]


def zoom_maps(graph: Graph, maps: str, size: tuple[int, int], images: str) -> str:
    """Maps (b, h, w) float32 to the size of the images: (b, H, W), as `upsample`."""
    lengths = graph.node("Shape", [images])[0]
    matrices = []
    for axis, old in zip((1, 2), size, strict=True):
        new = graph.node("Gather", [lengths, numbers(graph, axis)])[0]
        matrices.append(_hats(graph, old, new))
    wide = graph.node("Transpose", [matrices[1]], perm=[1, 0])[0]
    columns = graph.node("MatMul", [maps, wide])[0]
    return graph.node("MatMul", [matrices[0], columns])[0]


def _hats(graph: Graph, old: int, new: str) -> str:
    """Weights of bilinear interpolation, (new, old) float32; edges are clamped."""
    do = Arithmetic(graph)
    count, places = do.count(new)
    places = graph.node("Unsqueeze", [places, numbers(graph, 1)])[0]
    doubled = do("Mul", count, 2)
    centers = do("Sub", do("Mul", do("Add", do("Mul", places, 2), 1), old), count)
    inside = do("Min", do("Max", centers, 0), do("Mul", doubled, old - 1))
    apart = do("Abs", do("Sub", do("Div", inside, doubled), np.arange(old)[None]))
    return do.cast(do("Max", do("Sub", 1, apart), 0), "FLOAT")
