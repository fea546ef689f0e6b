"""E_loc of a classification network, and the code of E_glo by the same network."""

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.types import Array, Features, Images, ImagesU8, Tree
from gcad_jax.methods.common.apply import each_batch
from gcad_jax.models.classifiers.descriptors import Describer
from gcad_jax.models.classifiers.levels import Moments, concatenate_levels
from gcad_jax.models.classifiers.pretrained import pretrained_classifier
from gcad_jax.models.patch_descriptor import MINIMUM_STD, feature_moments

RARE = 1e-3  # of the mean deviation: of a feature that hardly ever says a thing
FLAT = 1e-3  # of the largest singular value: of a direction in which nothing varies


@dataclasses.dataclass(frozen=True)
class ClassifierELoc:
    """A frozen network that describes places, E_loc, and the image, the code of E_glo.

    g: numbers of the code.
    """

    arch: str
    stride: int
    g: int

    @property
    def describer(self) -> Describer:
        """The network with its maps on one grid."""
        return Describer(self.arch, self.stride)

    def prepare(self, weights: str, images: ImagesU8, batch_size: int) -> Tree:
        """Parameters of the network, and of what becomes of its features.

        Descriptors get mean 0 and deviation 1 over all places of all training images.
        The code is the first g principal components of the standardized pooled
        features, with deviation 1 over the training images.

        weights: as `pretrained_classifier` takes them.
        images: (N, H, W, 3) uint8, the training images, unaugmented.

        Raises:
          UserError: weights that are missing, damaged, or of another network.
        """
        network, params = pretrained_classifier(self.arch, weights)
        params = network.needed(params, until=self.describer.last)
        describe = jit_here(self._describe)
        pooled: list[np.ndarray] = []

        def places() -> Iterator[Features]:
            batches = each_batch(describe, images, batch_size, (params,))
            for features, means in batches:
                pooled.append(np.asarray(means, np.float64))
                yield features

        mean, std = feature_moments(places())
        return {
            "network": params,
            "mean": jnp.asarray(mean, jnp.float32),
            "std": jnp.asarray(floored(std), jnp.float32),
            **principal_components(np.concatenate(pooled), self.g),
        }

    def describe(self, params: Tree, images: Images) -> tuple[Features, Array]:
        """E_loc (B, h, w, D) and the code (B, g) of (B, H, W, 3) in [0, 1]."""
        features, pooled = self._describe(params["network"], images)
        E_loc = Moments(params["mean"], params["std"]).standardize(features)
        return E_loc, (pooled - params["pooled_mean"][None]) @ params["components"]

    def _describe(self, network: Tree, images: Images) -> tuple[Features, Array]:
        described = self.describer(network, images)
        levels = tuple(level.astype(jnp.float32) for level in described.levels)
        return concatenate_levels(levels), described.pooled


def principal_components(pooled: np.ndarray, g: int) -> Mapping[str, jax.Array]:
    """Mean (F,) and components (F, g): (x - mean) @ components is white.

    pooled: (N, F). Where the images vary in fewer than g directions, the last
    components are zeros.
    """
    mean, scale = pooled.mean(axis=0), floored(pooled.std(axis=0))
    _, values, directions = np.linalg.svd((pooled - mean) / scale, full_matrices=False)
    used = values[:g] > FLAT * max(float(values[0]), MINIMUM_STD)
    inverse = used / np.where(used, values[:g], 1.0) * np.sqrt(len(pooled))
    components = np.zeros((pooled.shape[1], g))
    found = directions[:g].T / scale[:, None] * inverse
    components[:, : found.shape[1]] = found
    return {
        "pooled_mean": jnp.asarray(mean, jnp.float32),
        "components": jnp.asarray(components, jnp.float32),
    }


def floored(std: np.ndarray) -> np.ndarray:
    """Deviations that can be divided by."""
    return np.maximum(std, max(RARE * float(std.mean()), MINIMUM_STD))
