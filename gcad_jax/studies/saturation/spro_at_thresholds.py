"""AU-sPRO at many saturation thresholds after one pass over the pixels.

`evaluation.spro` writes the area of a region up to a limit L as the mean weight of its
s highest pixels. A pixel whose ramp from x0 to x1 ends within the limit has the weight
L - (x0 + x1) / 2, one whose ramp begins beyond it has none, and the ramps of different
slots do not overlap, so that one slot at most lies across the limit. So the prefix sums
of all limits follow from those of x0 + x1, which are whole numbers of negatives:

    C[k] = K L - sum_{j <= K} (x0 + x1) / 2    with K = min(k, pixels within the limit)
           + (pixels among the k that lie across the limit) * (weight of that slot)

In a slot of several scores x0 and x1 are replaced by their bounds, as in `spro`.
"""

import bisect
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.ranks.ranks import Ranks
from gcad_jax.evaluation.spro import LIMITS
from gcad_jax.studies.saturation.sampling import SampledThresholds, varies


def auspro(
    ranks: Ranks,
    truth: GroundTruth,
    drawn: Mapping[str, SampledThresholds],
    limits: Sequence[float] = LIMITS,
) -> tuple[np.ndarray, float] | None:
    """AU-sPRO of a subset, (limits, 1 + draws): the original first; and its bound.

    Regions of types that are not in `drawn` keep their saturation.

    The bound is the largest distance of any value from the exact one, 0 where the pass
    was exact. None where there are no negatives.
    """
    if ranks.negatives == 0:
        return None
    at_limits = _Limits.of(ranks, np.asarray(limits, float))
    varying = varies(truth)
    fixed, by_type = np.zeros((1, 1, 1)), dict[str, np.ndarray]()
    for slots, r in zip(ranks.slots, ranks.subset.regions, strict=True):
        name = truth.regions[r].defect_name
        if varying[r] and name in drawn:
            sizes = drawn[name].sizes(int(truth.areas[r]))
            by_type[name] = by_type.get(name, 0) + at_limits.areas(slots, sizes)
        else:
            fixed = fixed + at_limits.areas(slots, truth.saturations[r : r + 1])
    draws = max((d.which.size for d in drawn.values()), default=1)
    total = np.repeat(fixed, draws, axis=2)
    for name, found in by_type.items():
        total = total + found[..., drawn[name].which]
    total /= len(ranks.slots)
    lower, upper = total[0], total[-1]
    return (lower + upper) / 2, float((upper - lower).max(initial=0) / 2)


@dataclasses.dataclass(frozen=True)
class _Limits:
    """What the regions of a subset share.

    limits: (L,).
    ends: (1 or 2, T) x0 + x1 of each slot in negatives; for the lower and the upper
        area where the pass was not exact.
    within: for each limit the lowest slot whose ramp ends within it.
    started: for each limit the lowest slot whose ramp begins before it; `within` or
        the slot under it.
    across: (1 or 2, L, 1) weight of the slot `started` where it is not within.
    """

    negatives: int
    limits: np.ndarray
    ends: np.ndarray
    within: tuple[int, ...]
    started: tuple[int, ...]
    across: np.ndarray

    @classmethod
    def of(cls, ranks: Ranks, limits: np.ndarray) -> "_Limits":
        exact = not ranks.loose.any()
        slots = range(ranks.above.size)
        within, started, across = [], [], []
        for limit in limits:
            most = limit * ranks.negatives
            first = bisect.bisect_left(
                slots, True, key=lambda t: ranks.reached[t] <= most
            )
            lies_across = first > 0 and ranks.above[first - 1] < most
            within.append(first)
            started.append(first - 1 if lies_across else first)
            both = _weights(ranks, first - 1, limit) if lies_across else (0.0, 0.0)
            across.append(both[:1] if exact else both)
        return cls(
            ranks.negatives,
            limits,
            _ends(ranks)[: 1 if exact else 2],
            tuple(within),
            tuple(started),
            np.array(across).T[..., None],
        )

    def areas(self, slots: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """A region's areas over the limit, (1 or 2, L, U): lower and upper.

        slots: (A,) of its pixels, descending. sizes: (U,) saturations, ascending.
        """
        slots = slots[: sizes[-1]]
        within = self._pixels(slots, self.within)
        started = self._pixels(slots, self.started)
        sums = self._sums(slots)
        kept = np.minimum(sizes, within)  # (L, U)
        area = sums[:, kept]
        area /= -2 * self.negatives
        area += kept * self.limits[:, None]
        if (self.across > 0).any() and (started > within).any():
            area += (np.minimum(sizes, started) - kept) * self.across
        area /= sizes * self.limits[:, None]
        return area

    def _pixels(self, slots: np.ndarray, lowest: Sequence[int]) -> np.ndarray:
        """How many of the pixels lie in `lowest` or a higher slot, (L, 1)."""
        ascending = np.ascontiguousarray(slots[::-1])
        return slots.size - np.searchsorted(ascending, lowest)[:, None]

    def _sums(self, slots: np.ndarray) -> np.ndarray:  # (1 or 2, 1 + A) float64
        """Prefix sums of `ends`."""
        sums = np.zeros((len(self.ends), slots.size + 1))
        for ends, row in zip(self.ends, sums, strict=True):
            np.cumsum(ends[slots], out=row[1:])
        return sums


def _ends(ranks: Ranks) -> np.ndarray:  # (2, T) float64
    """x0 + x1 of each slot in negatives, or a bound of it on either side."""
    x0, x1 = ranks.above.astype(float), ranks.reached.astype(float)
    lower = np.where(ranks.loose, 2 * x1, x0 + x1)
    upper = np.where(ranks.loose, 2 * x0, x0 + x1)
    return np.stack([lower, upper])


def _weights(ranks: Ranks, slot: int, limit: float) -> tuple[float, float]:
    """Lower and upper weight of a slot that lies across the limit."""
    x0, x1 = ranks.above[slot] / ranks.negatives, ranks.reached[slot] / ranks.negatives
    if ranks.loose[slot]:
        return 0.0, limit - x0
    ramp = (limit - x0) ** 2 / (2 * (x1 - x0))
    return ramp, ramp
