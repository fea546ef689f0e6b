"""Draws of the saturation thresholds of the defect types of a category.

The paper varies them so [P 5.4, "Variation of Saturation Thresholds"]: ten times,
uniform from 0.5 to 1.5 times the original; where the saturation was chosen to be equal
to the annotated area, it stays. What it leaves open is chosen here:

- A threshold belongs to a type of defect, so a draw has one value for each type, which
  all regions of the type share, in structural and logical images alike.
- A relative threshold of 1 stays; one below 1 (there is a single one in MVTec LOCO AD)
  is drawn as a share of the area, unless it is asked to stay.
- An absolute threshold of at least the area of a region saturates it at its area, so
  this region stays as it is. Others of the same type vary.
- A drawn threshold is a whole number of pixels, or a share of the area, of which whole
  pixels count; a region saturates at 1 pixel or more, and at its area at most.
"""

import dataclasses
import itertools

import numpy as np

from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.studies.saturation.config import SaturationStudy


@dataclasses.dataclass(frozen=True)
class SampledThresholds:
    """Thresholds of one defect type.

    original: in pixels or, where `relative`, a share of the area.
    regions: number of regions whose saturation varies with it, at least 1.
    values: (U,) int64 or float64, the distinct ones, ascending, with the original.
    which: (1 + draws,) index into `values`: of the original, then of each draw.
    """

    original: float
    relative: bool
    regions: int
    values: np.ndarray
    which: np.ndarray

    @property
    def all(self) -> np.ndarray:
        """(1 + draws,) thresholds, the original first."""
        return self.values[self.which]

    def sizes(self, area: int) -> np.ndarray:  # (U,) int64
        """Saturations of a region of this area, for each of `values`."""
        pixels = self.values * area if self.relative else self.values
        return np.clip(pixels.astype(np.int64), 1, area)


def varying_regions(ground_truth: GroundTruth) -> np.ndarray:  # (m,) bool
    """Whether the saturation of a region is smaller than its area."""
    return ground_truth.saturations < ground_truth.areas


def sample_thresholds(
    config: SaturationStudy, ground_truth: GroundTruth, category: str
) -> dict[str, SampledThresholds]:
    """Thresholds by defect type, only of types of which a region varies.

    The draws of a type depend on the config, the category, its name and nothing else:
    not on the methods, and not on the other types.

    Raises ValueError where regions of one type have different thresholds.
    """
    varying = varying_regions(ground_truth)
    sampled = {}
    for name in ground_truth.defect_names():
        of_type = [region.defect_name == name for region in ground_truth.regions]
        (original, relative), *others = sorted(
            {
                (region.saturation_threshold, region.relative_saturation)
                for region in itertools.compress(ground_truth.regions, of_type)
            }
        )
        if others:
            raise ValueError(
                f"{name!r} has the thresholds {original:g} and {others[0][0]:g}; all "
                "regions of a type share one"
            )
        original = original if relative else int(original)
        regions = int(varying[of_type].sum())
        if regions and (config.vary_relative or not relative):
            key = [config.seed, *f"{category}/{name}".encode()]
            factors = np.random.default_rng(key).uniform(
                config.low, config.high, config.num_draws
            )
            values = factors * original
            if not relative:
                values = np.maximum(np.rint(values), 1).astype(np.int64)
            values, which = np.unique([original, *values], return_inverse=True)
            sampled[name] = SampledThresholds(
                original, relative, regions, values, which
            )
    return sampled
