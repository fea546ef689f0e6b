"""Images to the network's size, and maps from it to the size of an image.

Each of the two exists twice, for the host and, below it, as a twin in jnp: exported
programs resize on the device, where sides may be symbols, and the evaluation on
accelerators upsamples there too. Images are equal to the bit; maps up to rounding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from gcad_jax.core.machine.threads import Scratch
from gcad_jax.core.types import AnomalyMaps, Array
from gcad_jax.data.image_size import as_pair

BITS = 22  # of Pillow's weights: of 32, 8 are the pixel's and 2 are spare
STEP = 2  # bits of the quotient that are found at once
_PIECE = 2**17  # pixels whose intermediate values stay in the cache


def resize_image(
    image: np.ndarray, size: int | tuple[int, int]
) -> np.ndarray:  # (H, W, C) -> (h, w, C)
    """Both sides to those of `size`, whatever the aspect was [P 5.2]; uint8.

    size: (height, width), or the side of a square.

    The paper does not name the resampling: bilinear, and when an image shrinks the
    triangle widens with the factor, so that fine structure does not alias.
    """
    height, width, channels = image.shape
    new_height, new_width = as_pair(size)
    if (height, width) == (new_height, new_width):
        return image
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    # One side after the other, for the order decides about rounding, and Pillow 13
    # begins with the height of a tall image, where older ones do not.
    for sides in ((new_width, height), (new_width, new_height)):
        picture = picture.resize(sides, Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(new_height, new_width, channels)


def resize_images_jnp(
    images: Array, size: int | tuple[int, int]
) -> Array:  # (B, H, W, C) -> (B, h, w, C)
    """`resize_image` of uint8 images, to the bit; H and W may be symbols.

    Sides up to 32,768: beyond, whole numbers of 32 bits do not hold the weights.
    """
    height, width = as_pair(size)
    wide = _resize_width(images, width).swapaxes(1, 2)
    return _resize_width(wide, height).swapaxes(1, 2)


def _resize_width(images: Array, new: int) -> Array:  # (B, H, W, C) -> (B, H, new, C)
    """Along the rows, with the triangle of Pillow's bilinear filter.

    The filter reaches as far as one pixel of the larger grid of the two. All lengths
    are in halves of an old pixel, times `new`, which makes them whole numbers: rounding
    is then the same on every device, without 64 bits.
    """
    old = jnp.int32(images.shape[2])
    reach = 2 * jnp.maximum(old, new)
    centers = (2 * jnp.arange(new, dtype=jnp.int32) + 1) * old
    first = (centers - reach - new) // (2 * new) + 1
    taps = (reach + new - 1) // new

    def weights(places: Array) -> Array:  # (new,) -> (new,)
        apart = jnp.abs((2 * places + 1) * new - centers)
        inside = (places >= 0) & (places < old)
        return jnp.where(inside, jnp.maximum(reach - apart, 0), 0)

    total = jax.lax.fori_loop(
        0,
        taps,
        lambda tap, sums: sums + weights(first + tap),
        jnp.zeros(new, jnp.int32),
    )

    def add_pixels(tap: Array, sums: Array) -> Array:
        places = first + tap
        shares = _fixed_point_ratio(weights(places), total)
        pixels = jnp.take(images, jnp.clip(places, 0, old - 1), axis=2)
        return sums + shares[None, None, :, None] * pixels.astype(jnp.int32)

    batch, height, _, channels = images.shape
    # Starts at one half, so that the shift at the end rounds to the nearest.
    half = jnp.full((batch, height, new, channels), 1 << (BITS - 1), jnp.int32)
    sums = jax.lax.fori_loop(0, taps, add_pixels, half)
    return jnp.minimum(sums >> BITS, 255).astype(jnp.uint8)


def _fixed_point_ratio(part: Array, whole: Array) -> Array:
    """2^BITS part / whole, rounded to the nearest; by long division in 32 bits."""
    quotient, rest = part // whole, part % whole
    for _ in range(BITS // STEP):
        rest = rest << STEP
        quotient = (quotient << STEP) + rest // whole
        rest = rest % whole
    return quotient + (2 * rest >= whole)


def upsample(
    scores: np.ndarray, height: int, width: int, space: Scratch | None = None
) -> np.ndarray:  # (h, w) -> (height, width), dtype kept
    """Bilinear with half-pixel centers and clamped edges.

    The paper does not name the interpolation; this is the default of the common
    frameworks (`align_corners=False`). It never leaves the range of its input, keeps
    equal neighbors equal, and does not filter where a side shrinks.

    space: holds the result, until the same thread asks for the next.
    """
    if scores.shape == (height, width):
        return scores
    space = space or Scratch()
    wide = _interpolate_rows(scores.T, width, Scratch())
    return _interpolate_rows(wide.T, height, space)


def _interpolate_rows(
    rows: np.ndarray, size: int, space: Scratch
) -> np.ndarray:  # (h, w) -> (size, w)
    rows = np.ascontiguousarray(rows)
    low, weight = _bilinear_taps(rows.shape[0], size)
    weight = weight.astype(rows.dtype)[:, None]
    steps = np.diff(rows, axis=0, append=rows[-1:])
    width = rows.shape[1]
    new = space.array("map", (size, width), rows.dtype)
    piece = max(1, _PIECE // width)
    spare = space.array("rows", (min(piece, size), width), rows.dtype)
    for start in range(0, size, piece):
        part = slice(start, start + piece)
        below, step = new[part], spare[: size - start]
        # Every place is in range; "clip" says so to NumPy, which else copies.
        np.take(rows, low[part], axis=0, out=below, mode="clip")
        np.take(steps, low[part], axis=0, out=step, mode="clip")
        step *= weight[part]
        below += step
    return new


@functools.lru_cache(maxsize=64)
def _bilinear_taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """The first of two source rows of every new row, and the weight of the second."""
    center = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.floor(center).astype(np.intp)
    return low, center - low


def upsample_jnp(
    maps: AnomalyMaps, height: Array | int, width: Array | int
) -> AnomalyMaps:  # (..., h, w) -> (..., height, width)
    """`upsample` on the device; height and width may be symbols."""
    last = maps.ndim - 1
    for axis, new in ((last, width), (last - 1, height)):  # the order of `upsample`
        old = maps.shape[axis]
        low, weight = _bilinear_taps_jnp(old, new)
        below = jnp.take(maps, low, axis=axis)
        step = jnp.take(maps, jnp.minimum(low + 1, old - 1), axis=axis) - below
        others = [k for k in range(maps.ndim) if k != axis]
        maps = below + step * jnp.expand_dims(weight.astype(maps.dtype), others)
    return maps


def _bilinear_taps_jnp(old: int, new: Array | int) -> tuple[Array, Array]:
    """`_bilinear_taps`; of a symbol in whole numbers, in halves of a new pixel."""
    if isinstance(new, int):
        low, weight = _bilinear_taps(old, new)
        return jnp.asarray(low), jnp.asarray(weight)
    centers = (2 * jnp.arange(new, dtype=jnp.int32) + 1) * old - new
    centers = jnp.clip(centers, 0, (old - 1) * 2 * new)
    return centers // (2 * new), centers % (2 * new) / (2 * new)
