"""Saturated per-region overlap (sPRO), its curve and the area under it.

With A_i a region, s_i its saturation and P(t) the pixels with a score above t
[P Eq. 1]:

    sPRO(t) = 1/m sum_i min(|A_i & P(t)| / s_i, 1)

The curve joins the points (FPR(t), sPRO(t)) of all thresholds t by straight lines.
Between two neighboring thresholds the false positive rate moves from x0 to x1, and a
pixel whose score lies between them moves the curve up by its share, linearly. Up to a
limit L such a pixel therefore adds to the area the weight

    w(x0, x1) = integral over x in [0, L] of clamp((x - x0) / (x1 - x0), 0, 1)

and the saturation keeps the s_i highest pixels of a region. So the area is a sum of
prefix sums of weights over the pixels of a region in descending order. These prefix
sums do not depend on the saturation.

Of a pixel in an interval of scores only y0 <= x0 and x1 <= y1 are known. As w falls in
both arguments, max(L - y1, 0) <= w <= max(L - y0, 0): every area is enclosed, and its
value is the middle of the enclosure.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gcad_jax.evaluation.ranks.ranks import Ranks

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)

RATES = np.concatenate([np.linspace(0, 0.1, 101), np.linspace(0.11, 1, 90)])


@dataclasses.dataclass(frozen=True)
class Areas:
    """AU-sPRO of every region of a subset at every limit, float64, in [0, 1].

    lower, upper: (m, limits), equal where the pass was exact. The mean over regions
    encloses the AU-sPRO of these regions.
    """

    lower: np.ndarray
    upper: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """Means over the regions, (limits,)."""
        return (self.lower.mean(axis=0) + self.upper.mean(axis=0)) / 2

    @property
    def bound(self) -> float:
        """The largest distance of any of `values` from the exact one."""
        gaps = self.upper.mean(axis=0) - self.lower.mean(axis=0)
        return float(gaps.max(initial=0) / 2)

    def of(self, regions: Sequence[int]) -> "Areas":
        """Those at the given positions."""
        return Areas(self.lower[list(regions)], self.upper[list(regions)])


def areas(ranks: Ranks, saturations: np.ndarray) -> Areas | None:
    """Area under the sPRO curve of each region up to each limit, over the limit.

    saturations: (m,) of all regions of the ground truth. None without negatives.
    """
    if ranks.negatives == 0:
        return None
    sizes = saturations[list(ranks.subset.regions)]
    # The highest s_i pixels of each region: those below are saturated.
    kept = [a[:s] for a, s in zip(ranks.pixel_bins, sizes.tolist(), strict=True)]
    starts = np.cumsum([0, *(a.size for a in kept[:-1])])
    bins = np.concatenate(kept)
    above, reached, ambiguous = ranks.above, ranks.reached, ranks.ambiguous
    if bins.size < above.size:
        # A defect type has few of the scores of all regions, and few pixels a cell.
        above, reached, ambiguous = above[bins], reached[bins], ambiguous[bins]
        bins = np.arange(bins.size)
    x0, x1 = above / ranks.negatives, reached / ranks.negatives
    # Of lower and upper bound: sums over each region's pixels, over s_i and the limit.
    both = np.empty((2, len(kept), len(LIMITS)))
    for k, limit in enumerate(LIMITS):
        for bound, weight in enumerate(_weights(x0, x1, ambiguous, limit)):
            both[bound, :, k] = np.add.reduceat(weight[bins], starts) / limit
    both /= sizes[None, :, None]
    return Areas(*both)


def _weights(
    x0: np.ndarray, x1: np.ndarray, ambiguous: np.ndarray, limit: float
) -> tuple[np.ndarray, np.ndarray]:  # each (T,) float64
    """Lower and upper weight of a pixel in each bin; its area times s_i."""
    lower, upper = np.maximum(limit - x1, 0), np.maximum(limit - x0, 0)
    known = np.flatnonzero(~ambiguous)
    x0, x1 = x0[known], x1[known]
    width = np.minimum(limit, x1) - x0  # of the ramp, inside the limit
    ramp = np.divide(width**2, 2 * (x1 - x0), out=np.zeros(x0.size), where=x1 > x0)
    weight = np.where(x0 < limit, ramp + lower[known], 0)
    lower[known] = upper[known] = weight
    return lower, upper


def curve(ranks: Ranks, saturations: np.ndarray) -> np.ndarray | None:
    """The exact curve at RATES, (K,) float64; None where there are no negatives."""
    if ranks.negatives == 0:
        return None
    sizes = [int(saturations[r]) for r in ranks.subset.regions]
    kept = [a[:s] for a, s in zip(ranks.pixel_bins, sizes, strict=True)]
    bins = np.concatenate(kept)
    above, reached = ranks.above[bins], ranks.reached[bins]
    # What a pixel adds to the mean over the regions.
    share = 1 / (np.array(sizes, float) * len(sizes))
    share = np.repeat(share, [a.size for a in kept])

    grid = RATES * ranks.negatives
    full = np.searchsorted(grid, reached, side="left")  # first rate past the ramp
    started = np.searchsorted(grid, above, side="right")  # first rate inside it
    value = np.cumsum(np.bincount(full, share, minlength=grid.size + 1))[: grid.size]

    # Ramps of different scores do not overlap, so at most one a rate holds it inside.
    inside = started < full
    starts, which = np.unique(above[inside], return_inverse=True)
    heights = np.bincount(which, share[inside], minlength=starts.size)
    ends = np.zeros(starts.size)
    ends[which] = reached[inside]
    for x0, x1, height in zip(starts, ends, heights, strict=True):
        on = (grid > x0) & (grid < x1)
        value[on] += height * (grid[on] - x0) / (x1 - x0)
    return np.clip(value, 0, 1)
