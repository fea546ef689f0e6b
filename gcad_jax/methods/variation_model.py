"""The Variation Model: a mean and a deviation of every pixel [P 5.2].

After Steger, Ulrich, Wiedemann, "Machine Vision Algorithms and Applications". Nothing
is trained; images that do not lie still are aligned first.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core import fields
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import AnomalyMaps, Array, Images, ImagesU8, Tree
from gcad_jax.methods.base import DetectorState
from gcad_jax.methods.common import registration
from gcad_jax.methods.common.apply import each_batch
from gcad_jax.methods.common.defaults import OneMap, Untrained
from gcad_jax.methods.common.hparams import HParams

NONE, RIGID = "none", "rigid"
GRAY_LEVELS = 255.0
MIN_SIDE = 8  # of an image in pixels that can be aligned
MAX_ANGLES = 1800  # each is one registration


@dataclasses.dataclass(eq=False)
class VariationModel(HParams, Untrained, OneMap):
    """The Variation Model."""

    title: ClassVar[str] = "Variation Model"

    image_size: int = fields.changed(
        HParams,
        "image_size",
        256,
        dataclasses.replace(fields.PIXELS, above=None, at_least=MIN_SIDE),
    )
    """Side of the square images; the paper keeps the original ones (pixels) [ours]."""
    alignment: str = fields.field(NONE, fields.choices(NONE, RIGID))
    """Of the images: "none", or "rigid": turned and shifted against the training image
    that is nearest to the median of all [ours: P 5.2 aligns juice bottles and pushpins
    by shape-based matching]."""
    degrees: tuple[float, float] = fields.field(
        (5.0, 1.0),
        fields.DEGREES.items("angle", names=("largest angle", "step between angles")),
    )
    """Largest angle that is tried, and the step between angles (degrees) [ours]."""
    variance_floor: float = fields.field(1 / 12, fields.POSITIVE)
    """Added to each variance; 1/12 is the variance of rounding to whole gray levels,
    which keeps a pixel that never fields.changed from an infinite score (squared gray
    levels) [ours]."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        super().validate()
        largest, step = self.degrees
        if step <= 0 or largest > MAX_ANGLES * step:
            raise UserError(
                f"degrees is {self.degrees}; it must be the largest angle, 0 or more, "
                "and the step between angles, above 0, such as (5.0, 1.0), for at most "
                f"{MAX_ANGLES} angles on each side."
            )

    # -- the model --------------------------------------------------------------

    def prepare(self, images: ImagesU8) -> Tree:
        """Mean and deviation of each pixel and channel, in gray levels.

        images: (N, S, S, 3) uint8. Aligned, a pixel counts the images that cover it;
        one that none covers has the deviation of all gray levels. Returns "mean" and
        "std" (S, S, 3), "covered" (S, S) 0 or 1, "reference" (S, S, 3) in [0, 1].
        """
        reference = jnp.asarray(nearest_to_median(images) / GRAY_LEVELS, jnp.float32)

        @jax.jit
        def sums(x: Images) -> tuple[Array, Array, Array]:
            values, weights = jax.vmap(lambda image: self._align(image, reference))(x)
            # From the reference: squares of what is left keep their digits.
            values = (values - reference[None]) * GRAY_LEVELS
            weights = weights[..., None]
            # One row an image, so that repeats in the last batch can be dropped.
            return weights, weights * values, weights * jnp.square(values)

        totals = [np.zeros((1, 1, 1))] * 3
        for parts in each_batch(sums, images, self.inference_batch_size):
            totals = [
                total + np.asarray(part, np.float64).sum(axis=0)
                for total, part in zip(totals, parts, strict=True)
            ]
        count, first, second = totals
        covered = count > 0
        count = np.maximum(count, 1)
        mean = first / count
        variance = np.maximum(second / count - mean**2, 0) + self.variance_floor
        std = np.where(covered, np.sqrt(variance), GRAY_LEVELS)
        return {
            "mean": jnp.asarray(mean, jnp.float32) + reference * GRAY_LEVELS,
            "std": jnp.asarray(std, jnp.float32),
            "covered": jnp.asarray(covered[..., 0], jnp.float32),
            "reference": reference,
        }

    def _pose(self, image: Array, reference: Array) -> registration.Pose:
        limit, step = self.degrees
        half = np.arange(step, limit + step / 2, step)
        # Nearest to 0 first: of equal peaks the smallest turn is taken.
        grid = np.concatenate([[0.0], np.stack([half, -half], axis=1).ravel()])
        return registration.register(image, reference, jnp.asarray(grid, jnp.float32))

    def _align(self, image: Array, reference: Array) -> tuple[Array, Array]:
        """The image as the reference lies (S, S, 3); (S, S) 1 where it covers that."""
        if self.alignment == NONE:
            return image, jnp.ones(image.shape[:2])
        pose = registration.inverse(self._pose(image, reference))
        at = registration.coordinates(pose, *image.shape[:2])
        weights = registration.inside(at).astype(jnp.float32)
        return registration.sample(image, at), weights

    # -- scoring ----------------------------------------------------------------

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """|I - mean| / std, averaged over the channels; (B, S, S).

        Aligned, the model is laid over the image, not the image over the model, so
        that a score stays at its pixel; pixels outside the overlap score 0 [P 5.2].
        """
        model = detector.frozen

        def map_of_image(image: Array) -> AnomalyMaps:
            mean, std, covered = model["mean"], model["std"], model["covered"]
            if self.alignment == RIGID:
                pose = self._pose(image, model["reference"])
                at = registration.coordinates(pose, *image.shape[:2])
                mean = registration.sample(mean, at)
                std = registration.sample(std, at)
                whole = registration.sample(covered[..., None], at)[..., 0] >= 1 - 1e-6
                covered = (registration.inside(at) & whole).astype(jnp.float32)
            scores = jnp.abs(image * GRAY_LEVELS - mean) / std
            return covered * jnp.mean(scores, axis=-1)

        return jax.lax.map(map_of_image, images)

    def describe(self) -> tuple[str, ...]:
        """How images were aligned, and what else is not the paper's."""
        how = "not aligned" if self.alignment == NONE else "aligned by turn and shift"
        # Deviates: original sizes and shape-based matching are replaced.
        return (
            f"Images were zoomed to {self.image_size} x {self.image_size} pixels and "
            f"{how}; the paper keeps their size, and aligns pushpins and juice bottles "
            "by shape.",
            "Scores are deviations of a pixel.",
        )


def nearest_to_median(images: ImagesU8) -> np.ndarray:  # (N, H, W, C) -> (H, W, C)
    """The image nearest to the median of each pixel: sharp, unlike the median."""
    median = np.median(images, axis=0)
    distances = [np.sum(np.square(image - median)) for image in images]
    return images[int(np.argmin(distances))]
