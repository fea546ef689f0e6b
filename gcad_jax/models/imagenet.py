"""Scaling of images to ImageNet's statistics."""

import jax.numpy as jnp

from gcad_jax.types import Array, Images

# Per channel, RGB in [0, 1]: torchvision's statistics of the ImageNet training set.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_normalised(images: Images) -> Array:
    """(B, H, W, 3) in [0, 1] -> mean 0 and deviation 1 over ImageNet, per channel."""
    mean = jnp.asarray(IMAGENET_MEAN, images.dtype).reshape(1, 1, 1, 3)
    std = jnp.asarray(IMAGENET_STD, images.dtype).reshape(1, 1, 1, 3)
    return (images - mean) / std
