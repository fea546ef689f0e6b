"""Images and maps to another size on the device, sizes unknown until they come.

Twins of `images.zoom` and of the evaluation's `maps.upsample`, for programs that are
exported: any side may be a symbol. Places and weights are whole numbers, so that
rounding is the same on every device, without 64 bits.
"""

import jax
import jax.numpy as jnp

from gcad_jax.core.types import AnomalyMaps, Array

BITS = 22  # of Pillow's weights: of 32, 8 are the pixel's and 2 are spare
STEP = 2  # bits of the quotient that are found at once


def zoomed(images: Array, size: int) -> Array:  # (B, H, W, C) -> (B, size, size, C)
    """`images.zoom` of uint8 images, to the bit.

    Sides up to 32,768: beyond, whole numbers of 32 bits do not hold the weights.
    """
    wide = _shrunk(images, size).swapaxes(1, 2)
    return _shrunk(wide, size).swapaxes(1, 2)


def _shrunk(images: Array, new: int) -> Array:  # (B, H, W, C) -> (B, H, new, C)
    """Along the rows, with the triangle of Pillow's bilinear filter.

    The filter reaches as far as one pixel of the larger grid of the two. All lengths
    are in halves of an old pixel, times `new`, which makes them whole numbers.
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

    def count(tap: Array, total: Array) -> Array:
        return total + weights(first + tap)

    total = jax.lax.fori_loop(0, taps, count, jnp.zeros(new, jnp.int32))

    def add(tap: Array, sums: Array) -> Array:
        places = first + tap
        shares = _share(weights(places), total)
        pixels = jnp.take(images, jnp.clip(places, 0, old - 1), axis=2)
        return sums + shares[None, None, :, None] * pixels.astype(jnp.int32)

    batch, height, _, channels = images.shape
    half = jnp.full((batch, height, new, channels), 1 << (BITS - 1), jnp.int32)
    sums = jax.lax.fori_loop(0, taps, add, half)
    return jnp.minimum(sums >> BITS, 255).astype(jnp.uint8)


def _share(part: Array, whole: Array) -> Array:
    """2^BITS part / whole, rounded to the nearest; by long division in 32 bits."""
    quotient, rest = part // whole, part % whole
    for _ in range(BITS // STEP):
        rest = rest << STEP
        quotient = (quotient << STEP) + rest // whole
        rest = rest % whole
    return quotient + (2 * rest >= whole)


def stretched(
    maps: AnomalyMaps, height: Array | int, width: Array | int
) -> AnomalyMaps:  # (B, S, S) -> (B, height, width)
    """`maps.upsample`: bilinear, half-pixel centers, clamped edges."""
    wide = _lerp(maps, width)
    return _lerp(wide.swapaxes(1, 2), height).swapaxes(1, 2)


def _lerp(maps: Array, new: Array | int) -> Array:  # (B, H, W) -> (B, H, new)
    old = maps.shape[2]
    # In halves of a new pixel.
    centers = (2 * jnp.arange(new, dtype=jnp.int32) + 1) * old - new
    centers = jnp.clip(centers, 0, (old - 1) * 2 * new)
    low, weight = centers // (2 * new), centers % (2 * new) / (2 * new)
    below = jnp.take(maps, low, axis=2)
    above = jnp.take(maps, jnp.minimum(low + 1, old - 1), axis=2)
    return below + (above - below) * weight.astype(maps.dtype)[None, None]
