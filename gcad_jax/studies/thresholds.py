"""Draws of the saturation thresholds of the defect types of a category.

The paper varies them so [P 5.4, "Variation of Saturation Thresholds"]: ten times,
uniform from 0.5 to 1.5 times the original; where the saturation was chosen to be equal
to the annotated area, it stays. What it leaves open is chosen here:

- A threshold belongs to a type of defect, so a draw has one value for each type, which
  all regions of the type share, in structural and logical images alike.
- A relative threshold stays, also one below 1 (there is a single one in MVTec LOCO AD).
  The absolute ones are those that somebody picked in pixels.
- An absolute threshold of at least the area of a region saturates it at its area, so
  this region stays as it is. Others of the same type vary.
- A drawn threshold is a whole number of pixels, at least 1, and a region saturates at
  it or at its area, whichever is smaller.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from gcad_jax.evaluation.regions import GroundTruth


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Thresholds of one defect type.

    original: in pixels.
    regions: number of regions whose saturation varies with it, at least 1.
    sizes: (U,) int64, the distinct ones, ascending; the original is among them.
    which: (1 + draws,) index into `sizes`: of the original, then of each draw.
    """

    original: int
    regions: int
    sizes: np.ndarray
    which: np.ndarray

    @property
    def all(self) -> np.ndarray:
        """(1 + draws,) int64 thresholds, the original first."""
        return self.sizes[self.which]


def varies(truth: GroundTruth) -> np.ndarray:  # (m,) bool
    """The regions whose saturation is absolute and smaller than their area."""
    relative = np.array([r.relative_saturation for r in truth.regions], bool)
    return ~relative & (truth.saturations < truth.areas)


def draw(
    truth: GroundTruth,
    category: str,
    draws: int,
    seed: int = 0,
    low: float = 0.5,
    high: float = 1.5,
) -> Mapping[str, Drawn]:
    """Thresholds by defect type, only of types of which a region varies.

    category, seed: the draws of a type depend on these, its name and nothing else: not
        on the methods, and not on the other types.
    low, high: in units of the original threshold.

    Raises ValueError where regions of one type have different absolute thresholds.
    """
    names = np.array([region.defect_name for region in truth.regions], object)
    varying = varies(truth)
    drawn = {}
    for name in truth.defect_names():
        own = np.flatnonzero((names == name) & varying)
        if not own.size:
            continue
        originals = np.unique(truth.saturations[own])
        if originals.size > 1:
            raise ValueError(
                f"{name!r} has the thresholds {originals[0]} and {originals[1]}; all "
                "regions of a type share one"
            )
        original = int(originals[0])
        random = np.random.default_rng([seed, *f"{category}/{name}".encode()])
        pixels = np.rint(random.uniform(low, high, draws) * original)
        every = np.concatenate([[original], np.maximum(pixels, 1).astype(np.int64)])
        sizes, which = np.unique(every, return_inverse=True)
        drawn[name] = Drawn(original, own.size, sizes, which)
    return drawn
