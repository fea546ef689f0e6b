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
from collections.abc import Mapping

import numpy as np

from gcad_jax.evaluation.ground_truth import GroundTruth


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


def varies(truth: GroundTruth) -> np.ndarray:  # (m,) bool
    """The regions whose saturation is smaller than their area."""
    return truth.saturations < truth.areas


def sample_thresholds(
    truth: GroundTruth,
    category: str,
    draws: int,
    seed: int = 0,
    low: float = 0.5,
    high: float = 1.5,
    vary_relative: bool = True,
) -> Mapping[str, SampledThresholds]:
    """Thresholds by defect type, only of types of which a region varies.

    category, seed: the draws of a type depend on these, its name and nothing else: not
        on the methods, and not on the other types.
    low, high: in units of the original threshold.
    vary_relative: whether relative thresholds are drawn too.

    Raises ValueError where regions of one type have different thresholds.
    """
    varying = varies(truth)
    drawn = {}
    for name in truth.defect_names():
        own = [
            r for r, region in enumerate(truth.regions) if region.defect_name == name
        ]
        original, relative = _original(truth, own)
        regions = int(varying[own].sum())
        if regions and (vary_relative or not relative):
            random = np.random.default_rng([seed, *f"{category}/{name}".encode()])
            values = random.uniform(low, high, draws) * original
            if not relative:
                values = np.maximum(np.rint(values), 1).astype(np.int64)
            every = np.concatenate([[original], values])
            drawn[name] = SampledThresholds(
                original, relative, regions, *np.unique(every, return_inverse=True)
            )
    return drawn


def _original(truth: GroundTruth, own: list[int]) -> tuple[float, bool]:
    """Threshold of the regions of a type, and whether it is relative."""
    found = {
        (r.saturation_threshold, r.relative_saturation)
        for r in (truth.regions[i] for i in own)
    }
    if len(found) > 1:
        (first, _), (second, _) = sorted(found)[:2]
        raise ValueError(
            f"{truth.regions[own[0]].defect_name!r} has the thresholds {first:g} and "
            f"{second:g}; all regions of a type share one"
        )
    ((threshold, relative),) = found
    return (threshold if relative else int(threshold)), relative
