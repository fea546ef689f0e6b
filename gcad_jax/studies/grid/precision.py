"""Whether bfloat16 costs accuracy: its numbers beside float32's, seed by seed."""

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from gcad_jax.evaluation.result_files import deviation, mean
from gcad_jax.evaluation.scores import KIND_OR_MEAN, Number
from gcad_jax.reporting.tables import (
    HEADS,
    NONE,
    Pick,
    auroc,
    auspro,
    cell,
    markdown_table,
)
from gcad_jax.studies.grid.results import Finished
from gcad_jax.studies.statistics import ROUNDING

# Student's t that 2.5 % exceed, for 1 to 30 degrees of freedom.
# fmt: off
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)

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

FLOAT32, BFLOAT16 = "float32", "bfloat16"
MEASURES: Mapping[str, Pick] = {"AU-sPRO at 0.05": auspro, "Image AU-ROC": auroc}

# Of one measure: for structural, logical and mean, None where a number lacks.
Differences: TypeAlias = Sequence[Difference | None]

READING = (
    "Numbers are means over the categories of a data set, ± the sample standard "
    "deviation over the seeds. A seed has the same first "
    "weights and the same order of images in both runs, so that they are a pair; "
    "differences are bfloat16 - float32, below 0 where bfloat16 costs accuracy.\n\n"
    "**Within the spread** means: the absolute difference of the two means is at most "
    "the standard deviation of float32 over its seeds, so that bfloat16 moves the mean "
    "no further than another seed typically moves one run. That does not show that "
    "there is no difference, and outside is not a proof of one: unrelated numbers that "
    "differ by chance alone are outside in 50 % of all cases with two seeds, in 19 % "
    "with five and in 9 % with eight. The 95 % interval (Student's t) is of the mean "
    "difference of the pairs: it says how large a cost the seeds leave possible, and "
    "without 0 in it the pairs show a difference, one in twenty by chance.\n\n"
    "float32 means JAX's default products, on an accelerator TF32 or bfloat16 passes "
    "unless JAX_DEFAULT_MATMUL_PRECISION=float32 is set."
)


def sections(dataset: str, runs: Mapping[str, Finished]) -> list[str]:
    """What the differences say, and a table for each measure."""
    found = {name: differences(runs, pick) for name, pick in MEASURES.items()}
    parts = [f"## {dataset}", statement(found)]
    for name, pick in MEASURES.items():
        rows = [
            [run.title, *(cell(run.values(pick, kind)) for kind in KIND_OR_MEAN)]
            for run in runs.values()
        ]
        rows += _rows(found[name])
        parts += [f"### {name}", markdown_table(["", *HEADS], rows, 1)]
    return parts


def differences(runs: Mapping[str, Finished], pick: Pick) -> Differences:
    """bfloat16 less float32 for structural, logical and mean."""
    if FLOAT32 not in runs or BFLOAT16 not in runs:
        return [None] * len(KIND_OR_MEAN)
    return [
        difference(*(_by_seed(runs[run], pick, kind) for run in (FLOAT32, BFLOAT16)))
        for kind in KIND_OR_MEAN
    ]


def _by_seed(run: Finished, pick: Pick, kind: str) -> dict[int, Number]:
    # Without test images there are seeds, but no numbers.
    return dict(zip(run.seeds, run.values(pick, kind), strict=False))


def statement(found: Mapping[str, Differences]) -> str:
    """Whether the differences lie within the spread, and what the pairs show.

    found: by measure.
    """
    compared = {
        f"{measure} {head}": one
        for measure, of_measure in found.items()
        for head, one in zip(HEADS, of_measure, strict=True)
        if one is not None
    }
    if not compared:
        return (
            "**Nothing is compared: that takes both float32 and bfloat16, and "
            "anomalous test images.**"
        )
    told = _told(compared, lambda d: d.within is False)
    if all(one.within is None for one in compared.values()):
        spread = (
            "float32 has one seed and so no spread: whether the differences lie "
            "within it cannot be said."
        )
    elif told:
        inside = sum(bool(one.within) for one in compared.values())
        spread = (
            f"{inside} of {len(compared)} differences lie within the spread of the "
            f"seeds. Outside: {told}."
        )
    else:
        spread = f"All {len(compared)} differences lie within the spread of the seeds."
    if all(one.shown is None for one in compared.values()):
        return f"**{spread}**"
    told = _told(compared, lambda d: d.shown is True)
    return f"**{spread}** The pairs show a difference in {told or 'none'}."


def _told(
    compared: Mapping[str, Difference], chosen: Callable[[Difference], bool]
) -> str:
    return ", ".join(
        f"{name} ({_signed(one.of_means)})"
        for name, one in compared.items()
        if chosen(one)
    )


def _rows(found: Differences) -> list[list[str]]:
    """Below the two runs; none where nothing is compared."""
    known = [one for one in found if one is not None]
    if not known:
        return []

    def row(name: str, text: Callable[[Difference], str]) -> list[str]:
        return [name, *(NONE if one is None else text(one) for one in found)]

    return [
        row("difference of the means", lambda d: _signed(d.of_means)),
        row("spread: deviation of float32", _spread),
        row("within the spread", lambda d: _ANSWERS[d.within]),
        *(
            row(f"difference of seed {seed}", functools.partial(_of_seed, seed))
            for seed in known[0].by_seed
        ),
        row("mean of the pairs ± standard error", _paired),
        row("95 % interval of it", _interval),
    ]


_ANSWERS = {True: "yes", False: "no", None: NONE}


def _signed(value: float) -> str:
    return f"{value:+z.4f}"


def _spread(one: Difference) -> str:
    return NONE if one.spread is None else f"{one.spread:.4f}"


def _of_seed(seed: int, one: Difference) -> str:
    return _signed(one.by_seed[seed])


def _paired(one: Difference) -> str:
    if one.paired is None:
        return NONE
    error = one.standard_error
    return _signed(one.paired) + ("" if error is None else f" ± {error:.4f}")


def _interval(one: Difference) -> str:
    return NONE if one.interval is None else " to ".join(map(_signed, one.interval))


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
