"""The size at which a network sees images: what a method wants, and what it gets.

A method says what it wants before any image is read; a data set makes one size of it,
for all images of a category, by those that the method trains on.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeAlias

from gcad_jax.core.errors import UserError
from gcad_jax.core.fields import SIDE


@dataclasses.dataclass(frozen=True)
class ShortSide:
    """The shorter side of the input, in pixels; the longer one keeps the aspect.

    multiple_of: both sides are rounded to the nearest multiple of it, at least one.
    """

    side: int
    multiple_of: int = 32


# One side is a square, a pair is (height, width).
ImageSize: TypeAlias = int | tuple[int, int] | ShortSide


def network_size(
    wanted: ImageSize, sizes: Sequence[tuple[int, int]]
) -> tuple[int, int]:  # (h, w)
    """The size of the network's input, one for all images of a category.

    sizes: (H, W) of each training image; of several aspect ratios the median counts.
        Not looked at unless `wanted` is a `ShortSide`.

    Raises:
      UserError: images so long and thin that the longer side would be too large.
      ValueError: no training image, of which the aspect would be.
    """
    if not isinstance(wanted, ShortSide):
        return as_pair(wanted)
    if not sizes:
        raise ValueError("the aspect ratio is that of the training images; give some")
    ratio = _median_ratio(sizes)
    height = round_to_multiple(wanted.side * max(1.0, ratio), wanted.multiple_of)
    width = round_to_multiple(wanted.side * max(1.0, 1 / ratio), wanted.multiple_of)
    if max(height, width) > SIDE:
        raise UserError(
            f"method.image_size is {wanted.side}, the shorter side of images whose "
            f"aspect is kept; they would be zoomed to {width} x {height} pixels, and a "
            f"side may have {SIDE}: give both sides, such as "
            f'method.image_size="({min(height, 512)}, {min(width, 512)})", which does '
            "not keep the aspect.",
            "method.image_size",
        )
    return height, width


def as_pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a size; one side is that of a square.

    Raises:
      TypeError: a `ShortSide`, which is no size before images are known.
    """
    if isinstance(size, ShortSide):
        raise TypeError(
            f"{size} is no size yet: data.image_size.network_size makes one of it, by "
            "the sizes of the training images"
        )
    if isinstance(size, (tuple, list)):
        height, width = size
        return int(height), int(width)
    return int(size), int(size)


def round_to_multiple(length: float, multiple_of: int) -> int:
    """The nearest positive multiple; of two as near the larger."""
    return max(1, math.floor(length / multiple_of + 0.5)) * multiple_of


def size_text(size: tuple[int, int]) -> str:
    """(height, width) as people read it: "256 x 512", the width first."""
    height, width = size
    return f"{width} x {height}"


def _median_ratio(sizes: Sequence[tuple[int, int]]) -> float:
    """Of height to width; between two middle ones the geometric mean.

    So images that lie on their side give that size on its side.
    """
    ratios = sorted(height / width for height, width in sizes)
    low, high = ratios[(len(ratios) - 1) // 2], ratios[len(ratios) // 2]
    return low if low == high else math.sqrt(low * high)
