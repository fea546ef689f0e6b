"""Mean Features: how far the features of each place are from their mean."""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp

from gcad_jax import checks
from gcad_jax.methods import teacher as teachers
from gcad_jax.methods.base import Detector
from gcad_jax.methods.batches import in_batches
from gcad_jax.methods.parts import OneMap, Untrained
from gcad_jax.models.imagenet import imagenet_normalised
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.types import AnomalyMaps, Features, Images, ImagesU8, Tree


@dataclasses.dataclass(eq=False)
class MeanFeatures(Untrained, OneMap):
    """Hyper-parameters of Mean Features.

    image_size: side of the square input (pixels) [ours].
    p: receptive field of E_loc, 17 or 33 (pixels) [ours].
    teacher: weights of E_loc, as in GCAD [ours].
    inference_batch_size: size of one call (images) [ours].
    """

    title: ClassVar[str] = "Mean Features"
    channels: ClassVar[int] = 3

    image_size: int = 128
    p: int = 33
    teacher: str = teachers.SHIPPED
    inference_batch_size: int = 8

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        checks.positive("image_size", self.image_size)
        checks.positive("inference_batch_size", self.inference_batch_size)
        teachers.check((self.p,), self.E_loc, self.teacher)

    def E_loc(self, p: int) -> PatchDescriptor:
        """The narrow E_loc that comes with the package."""
        return PatchDescriptor(p, d_loc=32, width=1 / 8)

    def prepare(self, images: ImagesU8) -> Tree:
        """E_loc's weights, and the mean features of each place (S, S, 32).

        images: (N, S, S, 3) uint8, the training images, unaugmented.
        """
        size = self.inference_batch_size
        E_loc = self.E_loc(self.p)
        params = teachers.prepared(E_loc, self.teacher, 0, images, size)
        describe = jax.jit(functools.partial(self._features, params))
        features = in_batches(describe, images, size)
        return {"E_loc": params, "mean": jnp.asarray(features.mean(axis=0))}

    def _features(self, params: Tree, images: Images) -> Features:
        x = imagenet_normalised(images)
        features = self.E_loc(self.p).apply({"params": params}, x)
        return jnp.asarray(features, jnp.float32)

    def anomaly_map(self, detector: Detector, images: Images) -> AnomalyMaps:
        """Squared distance from the mean features of the place; (B, S, S)."""
        features = self._features(detector.frozen["E_loc"], images)
        away = features - detector.frozen["mean"][None]
        return jnp.sum(jnp.square(away), axis=-1)

    def describe(self) -> tuple[str, ...]:
        """Which weights were used."""
        return (teachers.sentence("E_loc", self.teacher, 0),)
