"""What the frozen network says of an image: of its places, and of it as a whole."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gcad_jax.core.types import Array, Features, Images, Tree
from gcad_jax.methods.common.per_image import map_images
from gcad_jax.models.classifiers.classifier import classifier

# The maps of a network that describe places, finest first, at a quarter to a sixteenth
# of the image's side, and those whose means describe the image.
LEVELS: Mapping[str, tuple[str, ...]] = {
    "efficientnet_lite0": ("stage2", "stage3", "stage4", "stage5"),
    "efficientnet_lite0_torch": ("stage2", "stage3", "stage4", "stage5"),
    "mobilenet_v2": ("stage2", "stage3", "stage4", "stage5"),
    "mobilenet_v2_torch": ("stage2", "stage3", "stage4", "stage5"),
    "resnet18": ("layer1", "layer2", "layer3"),
    "wide_resnet50_2": ("layer1", "layer2", "layer3"),
}
DEEP: Mapping[str, tuple[str, ...]] = {
    "efficientnet_lite0": ("stage5", "stage6"),
    "efficientnet_lite0_torch": ("stage5", "stage6"),
    "mobilenet_v2": ("stage5", "stage6"),
    "mobilenet_v2_torch": ("stage5", "stage6"),
    "resnet18": ("layer3", "layer4"),
    "wide_resnet50_2": ("layer3", "layer4"),
}
STRIDE = 8  # pixels from one place to the next of the finest grid
FINEST = 4  # of the finest level of every network: two by two of its places are one
EPS = 1e-6  # deviation that is divided by at least
RARE = 1e-3  # of the mean deviation of a level: a channel that hardly ever says a thing


class Described(NamedTuple):
    """Of B images: `levels` (B, h, w, C) each, finest first, and `pooled` (B, F)."""

    levels: tuple[Features, ...]
    pooled: Array


class Moments(NamedTuple):
    """Mean and deviation of each channel, (C,) float32 each."""

    mean: Array
    std: Array

    def standardize(self, x: Array) -> Array:
        """(..., C) of any type, float32."""
        of_channel = (None,) * (x.ndim - 1)
        apart = x.astype(jnp.float32) - self.mean[of_channel]
        return apart / self.std[of_channel]


@dataclasses.dataclass(frozen=True)
class Describer:
    """Images to descriptors, by a network of `LEVELS`."""

    arch: str

    def __call__(self, params: Tree, images: Images) -> Described:
        """Of (B, H, W, 3) in [0, 1], not standardized, float32."""
        return map_images(functools.partial(self._describe, params), images)

    def _describe(self, params: Tree, images: Images) -> Described:
        maps = classifier(self.arch).maps(params, images, until=DEEP[self.arch][-1])
        finest, *others = (maps[name] for name in LEVELS[self.arch])
        # The finest level at the grid of the next, which takes a quarter of the memory
        # and a sixteenth of the comparisons.
        levels = average_pool(finest, STRIDE // FINEST), *others
        deep = [jnp.mean(maps[name], axis=(1, 2)) for name in DEEP[self.arch]]
        return Described(levels, jnp.concatenate(deep, axis=-1))


def average_pool(features: Features, step: int) -> Features:
    """(B, H, W, C) -> (B, H/step, W/step, C), means of step x step places.

    Odd sides lose their last row or column.
    """
    batch, height, width, size = features.shape
    height, width = height // step, width // step
    features = features[:, : height * step, : width * step]
    shape = (batch, height, step, width, step, size)
    return jnp.mean(features.reshape(shape), axis=(2, 4))


def concatenate_levels(levels: tuple[Features, ...]) -> Features:
    """All levels on the finest grid, (B, h, w, D); the coarser ones bilinearly."""
    shape = levels[0].shape[:3]
    return jnp.concatenate(
        [jax.image.resize(x, (*shape, x.shape[-1]), "bilinear") for x in levels],
        axis=-1,
    )


def level_moments(level: Array) -> Moments:
    """Over all places of all training images (N, h, w, C) of any type."""
    per_image = jax.lax.map(
        lambda x: jnp.mean(x.astype(jnp.float32), axis=(0, 1)), level
    )
    mean = jnp.mean(per_image, axis=0)
    of_place = mean[None, None]
    # From the mean, not as a difference of squares, which would lose digits.
    squares = jax.lax.map(
        lambda x: jnp.mean(jnp.square(x.astype(jnp.float32) - of_place), axis=(0, 1)),
        level,
    )
    return Moments(mean, _floored(jnp.sqrt(jnp.mean(squares, axis=0))))


def pooled_moments(pooled: Array) -> Moments:
    """Over the training images (N, F)."""
    return Moments(jnp.mean(pooled, axis=0), _floored(jnp.std(pooled, axis=0)))


def _floored(std: Array) -> Array:
    return jnp.maximum(std, jnp.maximum(RARE * jnp.mean(std), EPS))
