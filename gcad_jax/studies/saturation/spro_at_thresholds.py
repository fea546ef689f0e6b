"""AU-sPRO at many saturation thresholds after one pass over the pixels.

`evaluation.spro` writes the area of a region up to a limit L as the mean weight of its
s highest pixels. A pixel whose ramp from x0 to x1 ends within the limit has the weight
L - (x0 + x1) / 2, one whose ramp begins beyond it has none, and the ramps of different
bins do not overlap, so that one bin at most lies across the limit. So the prefix sums
of all limits follow from those of x0 + x1, which are whole numbers of negatives:

    C[k] = K L - sum_{j <= K} (x0 + x1) / 2    with K = min(k, pixels within the limit)
           + (pixels among the k that lie across the limit) * (weight of that bin)

In a bin of several scores x0 and x1 are replaced by their bounds, as in `spro`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.ranks.ranks import Ranks
from gcad_jax.evaluation.spro import LIMITS
from gcad_jax.studies.saturation.sampling import SampledThresholds, varying_regions


def auspro_at_thresholds(
    ranks: Ranks,
    ground_truth: GroundTruth,
    sampled: Mapping[str, SampledThresholds],
    limits: Sequence[float] = LIMITS,
) -> tuple[np.ndarray, float] | None:
    """AU-sPRO of a subset, (limits, 1 + draws): the original first; and its bound.

    sampled: by defect type; regions of other types keep their saturation.

    The bound is the largest distance of any value from the exact one, 0 where the pass
    was exact. None where there are no negatives.
    """
    if ranks.negatives == 0:
        return None
    weights = _Weights(ranks, np.asarray(limits, float))
    varying = varying_regions(ground_truth)
    # Regions of one type share the draws: their areas are added for each distinct
    # threshold, and looked up for each draw only then.
    fixed, by_type = np.zeros((1, 1, 1)), dict[str, np.ndarray]()
    for bins, r in zip(ranks.pixel_bins, ranks.subset.regions, strict=True):
        name = ground_truth.regions[r].defect_name
        if varying[r] and name in sampled:
            sizes = sampled[name].sizes(int(ground_truth.areas[r]))
            by_type[name] = by_type.get(name, 0) + weights.areas(bins, sizes)
        else:
            fixed = fixed + weights.areas(bins, ground_truth.saturations[r : r + 1])
    draws = max((s.which.size for s in sampled.values()), default=1)
    total = np.repeat(fixed, draws, axis=2)
    for name, areas in by_type.items():
        total = total + areas[..., sampled[name].which]
    total /= len(ranks.pixel_bins)
    lower, upper = total[0], total[-1]
    return (lower + upper) / 2, float((upper - lower).max(initial=0) / 2)


class _Weights:
    """What the regions of a subset share, for L limits and T bins.

    B is 1 or, for the lower and the upper area where the pass was not exact, 2.

    limits: (L, 1).
    ends: (B, T) x0 + x1 of each bin in negatives, or its bounds.
    within: (L,) lowest bin whose ramp ends within the limit.
    started: (L,) lowest bin whose ramp begins before the limit; `within`, or the bin
        under it, which then lies across the limit.
    across: (B, L, 1) weight of the bin that lies across, or 0.
    """

    def __init__(self, ranks: Ranks, limits: np.ndarray) -> None:
        bounds = 2 if ranks.ambiguous.any() else 1
        self.limits = limits[:, None]
        self.negatives = ranks.negatives
        x0, x1 = ranks.above.astype(float), ranks.reached.astype(float)
        lower = np.where(ranks.ambiguous, 2 * x1, x0 + x1)
        upper = np.where(ranks.ambiguous, 2 * x0, x0 + x1)
        self.ends = np.stack([lower, upper])[:bounds]
        negatives = limits * ranks.negatives
        # Bins ascend with the scores, so the numbers of negatives descend: they are
        # searched from the other end.
        num_within = np.searchsorted(ranks.reached[::-1], negatives, side="right")
        self.within = ranks.reached.size - num_within
        below = np.maximum(self.within - 1, 0)
        is_across = (self.within > 0) & (ranks.above[below] < negatives)
        self.started = self.within - is_across
        self.across = np.zeros((bounds, limits.size, 1))
        for n in np.flatnonzero(is_across):
            x0, x1 = (
                x[below[n]] / ranks.negatives for x in (ranks.above, ranks.reached)
            )
            ramp = (limits[n] - x0) ** 2 / (2 * (x1 - x0))
            ambiguous = ranks.ambiguous[below[n]]
            lower_upper = (0.0, limits[n] - x0) if ambiguous else (ramp, ramp)
            self.across[:, n, 0] = lower_upper[:bounds]

    def areas(self, bins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """A region's areas over the limit, (B, L, U).

        bins: (A,) of its pixels, descending. sizes: (U,) saturations, ascending.
        """
        bins = bins[: sizes[-1]]
        ascending = np.ascontiguousarray(bins[::-1])
        # Of the pixels, how many lie in these bins or higher ones, (L, 1).
        within, started = (
            bins.size - np.searchsorted(ascending, lowest)[:, None]
            for lowest in (self.within, self.started)
        )
        prefix_sums = np.zeros((len(self.ends), 1 + bins.size))
        for ends, sums in zip(self.ends, prefix_sums, strict=True):
            np.cumsum(ends[bins], out=sums[1:])
        counts = np.minimum(sizes, within)  # (L, U), the K above
        area = prefix_sums[:, counts]
        area /= -2 * self.negatives
        area += counts * self.limits
        if (self.across > 0).any() and (started > within).any():
            area += (np.minimum(sizes, started) - counts) * self.across
        area /= sizes * self.limits
        return area
