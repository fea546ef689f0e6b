"""Saturated per-region overlap (sPRO), its curve and the area under it, exact.

With A_i a region, s_i its saturation and P(t) the pixels with a score above t
[P Eq. 1]:

    sPRO(t) = 1/m sum_i min(|A_i & P(t)| / s_i, 1)

The curve joins the points (FPR(t), sPRO(t)) of all thresholds t by straight lines.
Between two neighbouring thresholds the false positive rate moves from x0 to x1, and a
pixel whose score lies between them moves the curve up by its share, linearly. Up to a
limit L such a pixel therefore adds to the area the weight

    w(x0, x1) = integral over x in [0, L] of clamp((x - x0) / (x1 - x0), 0, 1)

and the saturation keeps the s_i highest pixels of a region. So the area is a sum of
prefix sums of weights over the pixels of a region in descending order. These prefix
sums do not depend on the saturation.
"""

import numpy as np

from gcad_jax.evaluation.ranking import Ranks

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
RATES = np.concatenate([np.linspace(0, 0.1, 101), np.linspace(0.11, 1, 90)])


def weights(
    above: np.ndarray, reached: np.ndarray, negatives: int, limit: float
) -> np.ndarray:  # (A,), (A,) -> (A,) float64
    """Area in [0, limit] that each pixel adds to the curve of its region, times |A|."""
    x0, x1 = above / negatives, reached / negatives
    end = np.clip(limit, x0, x1)  # of the ramp, inside the limit
    ramp = np.divide(
        (end - x0) ** 2, 2 * (x1 - x0), out=np.zeros_like(x0), where=x1 > x0
    )
    return np.where(x0 < limit, ramp + np.maximum(limit - x1, 0), 0)


def area(
    ranks: Ranks, saturations: np.ndarray, limit: float
) -> float | None:  # saturations (m,) of all regions of the ground truth
    """Area under the sPRO curve up to the false positive rate `limit`, over `limit`.

    In [0, 1]; None where there are no negatives. Sums are in float64.
    """
    if ranks.negatives == 0:
        return None
    total = 0.0
    for k, region in enumerate(ranks.subset.regions):
        size = int(saturations[region])
        added = weights(
            ranks.above[k][:size], ranks.reached[k][:size], ranks.negatives, limit
        )
        total += added.sum() / (size * limit)
    return float(total / len(ranks.subset.regions))


def curve(
    ranks: Ranks, saturations: np.ndarray, rates: np.ndarray = RATES
) -> np.ndarray | None:  # rates (K,) ascending -> (K,) float64
    """The exact curve at the given false positive rates; None without negatives."""
    if ranks.negatives == 0:
        return None
    sizes = [int(saturations[r]) for r in ranks.subset.regions]
    above = np.concatenate([a[:s] for a, s in zip(ranks.above, sizes, strict=True)])
    reached = np.concatenate([a[:s] for a, s in zip(ranks.reached, sizes, strict=True)])
    kept = [min(a.size, s) for a, s in zip(ranks.above, sizes, strict=True)]
    share = np.repeat(1 / (np.array(sizes, float) * len(sizes)), kept)

    grid = rates * ranks.negatives
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
