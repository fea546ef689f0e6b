"""Rigid registration: the turn and the shift between an image and a reference.

The correlation of gradient magnitudes finds the shift for each angle of a grid; the
angle whose correlation peaks highest is taken. It is normalized, but not whitened as
phase correlation is: that weighs the noise of good images like their content.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from gcad_jax.core.types import Array

EPS = 1e-9  # norm that is divided by
FADED = 0.1  # of a side, at each end
BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


class Pose(NamedTuple):
    """Pixel x of the image shows what pixel T(x) of the reference shows.

    T turns by `degrees` (counter-clockwise) about the center, then moves by `shift`,
    rows and columns; () and (2,) float32.
    """

    degrees: Array
    shift: Array


def coordinates(pose: Pose, height: int, width: int) -> Array:  # (2, H, W)
    """T of every pixel: rows and columns in the reference."""
    angle = jnp.deg2rad(pose.degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y, x = jnp.meshgrid(
        jnp.arange(height, dtype=jnp.float32) - middle_y,
        jnp.arange(width, dtype=jnp.float32) - middle_x,
        indexing="ij",
    )
    rows = cos * y - sin * x + middle_y + pose.shift[0]
    columns = sin * y + cos * x + middle_x + pose.shift[1]
    return jnp.stack([rows, columns])


def inverse(pose: Pose) -> Pose:
    """From the reference to the image."""
    angle = jnp.deg2rad(-pose.degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    y, x = pose.shift[0], pose.shift[1]
    return Pose(-pose.degrees, -jnp.stack([cos * y - sin * x, sin * y + cos * x]))


def inside(at: Array) -> Array:  # (2, H, W) -> (H, W) bool
    """Which coordinates lie in an image of this size."""
    limits = jnp.array(at.shape[1:], jnp.float32).reshape(2, 1, 1) - 1
    return jnp.all((at >= 0) & (at <= limits), axis=0)


def sample(image: Array, at: Array) -> Array:  # (H, W, C), (2, H, W) -> (H, W, C)
    """Bilinear; coordinates outside take the nearest border pixel."""

    def channel(values: Array) -> Array:
        return map_coordinates(values, list(at), order=1, mode="nearest")

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image)


def edges(image: Array) -> Array:  # (H, W, C) -> (H, W)
    """Gradient magnitude of the blurred mean channel, faded out towards the border.

    Mean 0 and norm 1.
    """
    blur = jnp.array(BLUR)
    gray = jnp.mean(image, axis=-1)
    for axis in (0, 1):
        padded = jnp.pad(
            gray, [(2, 2) if a == axis else (0, 0) for a in (0, 1)], "edge"
        )
        gray = jax.vmap(lambda x: jnp.convolve(x, blur, "valid"), 1 - axis, 1 - axis)(
            padded
        )
    dy, dx = jnp.gradient(gray)
    window = [border_window(n) for n in gray.shape]
    magnitude = jnp.sqrt(dy**2 + dx**2) * window[0][:, None] * window[1][None]
    magnitude = magnitude - jnp.mean(magnitude)
    return magnitude / jnp.maximum(jnp.linalg.norm(magnitude), EPS)


def border_window(count: int) -> np.ndarray:  # (count,) float32
    """1, and falling by half a cosine over the outer tenth of each end.

    No wider: a window that reaches the content pulls every shift towards 0.
    """
    from_end = np.minimum(np.arange(count), np.arange(count)[::-1]) + 0.5
    progress = np.clip(from_end / (FADED * count), 0, 1)
    return (0.5 - 0.5 * np.cos(np.pi * progress)).astype(np.float32)


def register(image: Array, reference: Array, degrees: Array) -> Pose:
    """The pose of an image (H, W, C) against a reference (H, W, C).

    degrees: (A,) the grid of angles. Shifts are whole pixels, at most half a side.
    """
    height, width = image.shape[:2]
    conjugate = jnp.conj(jnp.fft.fft2(edges(reference)))

    def at_angle(angle: Array) -> tuple[Array, Array]:
        """Height and place of the correlation's peak after turning by the angle."""
        turn = inverse(Pose(angle, jnp.zeros(2)))
        turned = sample(image, coordinates(turn, height, width))
        correlation = jnp.fft.ifft2(jnp.fft.fft2(edges(turned)) * conjugate).real
        peak = jnp.argmax(correlation)
        return correlation.reshape(-1)[peak], peak

    heights, peaks = jax.lax.map(at_angle, degrees)
    best = jnp.argmax(heights)
    row, column = peaks[best] // width, peaks[best] % width
    moved = jnp.stack(
        [
            jnp.where(row > height // 2, row - height, row),
            jnp.where(column > width // 2, column - width, column),
        ]
    )
    # The turned image is the reference moved by `moved`.
    return Pose(degrees[best], -moved.astype(jnp.float32))
