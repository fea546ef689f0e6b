"""How far a second precision moves the numbers of a first, for few seeds."""

import dataclasses
import math
import statistics
from collections.abc import Mapping

from gcad_jax.evaluation.metrics import deviation, mean
from gcad_jax.evaluation.scores import Number
from gcad_jax.studies.rankings import ROUNDING

# Student's t that 2.5 % exceed, for 1 to 30 degrees of freedom.
# fmt: off
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on


@dataclasses.dataclass(frozen=True)
class Difference:
    """One number at a second precision less that at the first.

    of_means: difference of the means over the seeds.
    by_seed: difference of each seed that both have.
    spread: sample standard deviation of the first over its seeds; None for one seed.
    """

    of_means: float
    by_seed: Mapping[int, float]
    spread: Number

    @property
    def within(self) -> bool | None:
        """Whether |difference of the means| <= spread; None where there is none."""
        if self.spread is None:
            return None
        return abs(self.of_means) <= self.spread + ROUNDING

    @property
    def paired(self) -> Number:
        """Mean of the differences of the seeds; None where no seed pairs up."""
        return mean(list(self.by_seed.values()))

    @property
    def standard_error(self) -> Number:
        """Of `paired`; None for fewer than two pairs."""
        moved = deviation(list(self.by_seed.values()))
        return None if moved is None else moved / math.sqrt(len(self.by_seed))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of `paired` by Student's t; None for fewer than two pairs.

        Above 31 pairs t is that of 31: the interval is a little too wide.
        """
        middle, error = self.paired, self.standard_error
        if middle is None or error is None:
            return None
        half = T_975[min(len(self.by_seed) - 1, len(T_975)) - 1] * error
        return middle - half, middle + half

    @property
    def shown(self) -> bool | None:
        """Whether 0 is outside the interval; None where there is none."""
        if self.interval is None:
            return None
        low, high = self.interval
        return low > ROUNDING or high < -ROUNDING


def difference(
    first: Mapping[int, Number], second: Mapping[int, Number]
) -> Difference | None:
    """Second less first, each by seed; None where either lacks a number."""
    one = {seed: value for seed, value in first.items() if value is not None}
    other = {seed: value for seed, value in second.items() if value is not None}
    if not one or not other or len(one) < len(first) or len(other) < len(second):
        return None
    return Difference(
        of_means=statistics.fmean(other.values()) - statistics.fmean(one.values()),
        by_seed={seed: other[seed] - one[seed] for seed in one if seed in other},
        spread=deviation(list(one.values())),
    )
