"""What the frozen network says of an image: of its places, and of it as a whole."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gcad_jax.core.types import Array, Features, Images, Tree
from gcad_jax.models.classifiers.classifier import classifier
from gcad_jax.models.classifiers.levels import average_pool
from gcad_jax.models.classifiers.per_image import map_images

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
LARGEST = 6e4  # that float16 holds
STRIDE = 8  # pixels from one place to the next of the finest grid
STRIDES = (4, STRIDE)
FINEST = 4  # of the finest level of every network: two by two of its places are one


class Described(NamedTuple):
    """Of B images: `levels` (B, h, w, C) each, finest first, and `pooled` (B, F)."""

    levels: tuple[Features, ...]
    pooled: Array


@dataclasses.dataclass(frozen=True)
class Describer:
    """Images to descriptors, by a network of `LEVELS`.

    stride: pixels from one place to the next of the finest grid, of `STRIDES`.
    """

    arch: str
    stride: int = STRIDE

    @property
    def depth(self) -> int:
        """Features of a place, of all levels together."""
        widths = classifier(self.arch).widths()
        return sum(widths[name] for name in LEVELS[self.arch])

    @property
    def last(self) -> str:
        """The last map of the network that is read."""
        return DEEP[self.arch][-1]

    def __call__(self, params: Tree, images: Images) -> Described:
        """Of (B, H, W, 3) in [0, 1], not standardized, float32.

        Within what float16 holds, in which galleries are kept. Not rounded to it: where
        two programs differ by a digit, a value between two of float16 would jump.
        """
        return map_images(functools.partial(self._describe, params), images)

    def _describe(self, params: Tree, images: Images) -> Described:
        # Not TF32 or bfloat16: a threshold must mean the same on another device.
        with jax.default_matmul_precision("float32"):
            maps = classifier(self.arch).maps(params, images, until=self.last)
        finest, *others = (maps[name] for name in LEVELS[self.arch])
        # At the stride of 8 the finest level is at the grid of the next, which takes a
        # quarter of the memory and a sixteenth of the comparisons.
        levels = average_pool(finest, self.stride // FINEST), *others
        levels = tuple(jnp.clip(level, -LARGEST, LARGEST) for level in levels)
        deep = [jnp.mean(maps[name], axis=(1, 2)) for name in DEEP[self.arch]]
        return Described(levels, jnp.concatenate(deep, axis=-1))
