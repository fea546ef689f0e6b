"""A data set on the device: uint8 in memory, float32 only for the batch at hand.

At most 391 images of 256 x 256 x 3 bytes are 77 MB, so the whole set fits beside the
networks and no input pipeline can stall a step.
"""

import jax
import jax.numpy as jnp

from gcad_jax.core.types import Array, Images, ImagesU8


def to_device(images: ImagesU8) -> Array:  # (N, H, W, C) uint8
    """Puts the images on the default device, unchanged. Never donate this array."""
    if images.dtype != jnp.uint8 or images.ndim != 4:
        raise ValueError(
            f"images are {images.dtype} of shape {images.shape}; expected uint8 of "
            "shape (N, H, W, C)."
        )
    return jax.device_put(images)


def to_float(images: Array) -> Images:  # (B, H, W, C) uint8 -> float32 in [0, 1]
    """Gray levels 0..255 to [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def gather(dataset: Array, indices: Array) -> Images:  # (N, ...), (B,) -> (B, H, W, C)
    """The batch of these rows, float32 in [0, 1]; for use inside jit."""
    return to_float(jnp.take(dataset, indices, axis=0, mode="clip"))
