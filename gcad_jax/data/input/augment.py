"""Augmentation of one training image, on the device, inside the train step [P 5.1].

The paper names the operations and, for each category, which of them are allowed. It
gives +-3 degrees for the rotation and no range for the jitter; ranges are fields.
"""

import dataclasses

import jax
import jax.numpy as jnp

from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array, Key

# ITU-R 601 luma: the gray value of an RGB pixel.
LUMA = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What training may do to the images of one category; the default does nothing.

    vertical_flip: mirror top and bottom with probability 1/2.
    horizontal_flip: mirror left and right with probability 1/2.
    rotation_degrees: r of an angle drawn from U(-r, r), about the image center.
    jitter: j of factors drawn from U(1 - j, 1 + j), one each for brightness, contrast
        and saturation; 0 <= j < 1.

    Raises UserError for a range outside these limits.
    """

    vertical_flip: bool = False
    horizontal_flip: bool = False
    rotation_degrees: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.rotation_degrees <= 180.0:
            raise UserError(
                f"rotation_degrees is {self.rotation_degrees}; it must be between 0 "
                "(no rotation) and 180."
            )
        if not 0.0 <= self.jitter < 1.0:
            raise UserError(
                f"jitter is {self.jitter}; it must be at least 0 (none) and below 1."
            )

    @property
    def is_identity(self) -> bool:
        """Whether images stay as they are, so that features may be cached."""
        return self == Augmentation()


def augment(
    key: Key, image: Array, augmentation: Augmentation
) -> Array:  # (H, W, C) -> (H, W, C)
    """One example, float32 in [0, 1]; callers vmap over one key an example.

    Order: brightness, contrast, saturation, flips, rotation. The colors come first, so
    that the mean of the contrast is that of the image, and because XLA would repeat
    the rotation inside each of their loops (9 times slower on CPU). Each draw has its
    own key: switching one operation off leaves the others as they were.
    """
    vertical, horizontal, angle, *factors = jax.random.split(key, 6)
    if augmentation.jitter:
        low, high = 1.0 - augmentation.jitter, 1.0 + augmentation.jitter
        draws = [jax.random.uniform(k, minval=low, maxval=high) for k in factors]
        image = adjust_brightness(image, draws[0])
        image = adjust_contrast(image, draws[1])
        image = adjust_saturation(image, draws[2])
    flip_y = augmentation.vertical_flip & jax.random.bernoulli(vertical)
    flip_x = augmentation.horizontal_flip & jax.random.bernoulli(horizontal)
    if augmentation.rotation_degrees:
        limit = augmentation.rotation_degrees
        degrees = jax.random.uniform(angle, minval=-limit, maxval=limit)
        return rotate(image, degrees, flip_y, flip_x)
    return flip(image, flip_y, flip_x)


def flip(image: Array, flip_y: Array, flip_x: Array) -> Array:  # (H, W, C), (), ()
    """Mirrors top and bottom where `flip_y`, left and right where `flip_x`."""
    image = jnp.where(flip_y, image[::-1], image)
    return jnp.where(flip_x, image[:, ::-1], image)


def rotate(
    image: Array, degrees: Array, flip_y: Array, flip_x: Array
) -> Array:  # (H, W, C), (), (), () -> (H, W, C)
    """Flips, then turns the content counter-clockwise about ((H-1)/2, (W-1)/2).

    Bilinear; coordinates outside are clamped, which replicates the border and leaves no
    invented color in the corners. Four gathers of whole pixels; H and W at least 2.
    """
    height, width, channels = image.shape
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    y, x = jnp.meshgrid(
        jnp.arange(height, dtype=jnp.float32) - (height - 1) / 2,
        jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2,
        indexing="ij",
    )
    source_y = jnp.where(flip_y, -1.0, 1.0) * (cos * y + sin * x) + (height - 1) / 2
    source_x = jnp.where(flip_x, -1.0, 1.0) * (cos * x - sin * y) + (width - 1) / 2
    source_y = jnp.clip(source_y, 0, height - 1)
    source_x = jnp.clip(source_x, 0, width - 1)
    # The last row and column are the lower and right neighbors with weight 1.
    top = jnp.minimum(jnp.floor(source_y), height - 2)
    left = jnp.minimum(jnp.floor(source_x), width - 2)
    down, right = (source_y - top)[..., None], (source_x - left)[..., None]
    corner = top.astype(jnp.int32) * width + left.astype(jnp.int32)
    pixels = image.reshape(height * width, channels)

    def at(offset: int) -> Array:  # (H, W, C)
        return jnp.take(pixels, corner + offset, axis=0, mode="clip")

    upper = (1 - right) * at(0) + right * at(1)
    lower = (1 - right) * at(width) + right * at(width + 1)
    return (1 - down) * upper + down * lower


def gray(image: Array) -> Array:  # (H, W, C) -> (H, W, 1)
    """Luma of RGB by ITU-R 601; a single channel is returned as it is."""
    if image.shape[-1] == 1:
        return image
    return jnp.dot(image, jnp.array(LUMA)[:, None], precision=jax.lax.Precision.HIGHEST)


def adjust_brightness(image: Array, factor: Array) -> Array:
    """clip(factor * image, 0, 1)."""
    return jnp.clip(factor * image, 0.0, 1.0)


def adjust_contrast(image: Array, factor: Array) -> Array:
    """clip(mean + factor * (image - mean), 0, 1); mean of the image's gray."""
    mean = jnp.mean(gray(image))
    return jnp.clip(mean + factor * (image - mean), 0.0, 1.0)


def adjust_saturation(image: Array, factor: Array) -> Array:
    """clip(gray + factor * (image - gray), 0, 1), pixel by pixel; nothing for C = 1."""
    if image.shape[-1] == 1:
        return image
    luma = gray(image)
    return jnp.clip(luma + factor * (image - luma), 0.0, 1.0)
