"""Whether bfloat16 costs accuracy: its numbers beside float32's, seed by seed."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from gcad_jax.config import Experiment
from gcad_jax.core import fields
from gcad_jax.evaluation.result_files import deviation, mean
from gcad_jax.evaluation.results import KIND_OR_MEAN, Number
from gcad_jax.reporting.tables import (
    DECIDES,
    HEADS,
    NONE,
    Pick,
    auroc,
    auspro,
    decision_auroc,
    markdown_table,
    measure_cells,
)
from gcad_jax.studies.grid.presets import METHODS, study_of_methods
from gcad_jax.studies.grid.results import FinishedRun, has_method_scores
from gcad_jax.studies.grid.study import Study
from gcad_jax.studies.statistics import ROUNDING

# Student's t that 2.5 % exceed, for 1 to 30 degrees of freedom.
# fmt: off
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on

FLOAT32, BFLOAT16 = "float32", "bfloat16"
MEASURES: Mapping[str, Pick] = {"AU-sPRO at 0.05": auspro, "Image AU-ROC": auroc}
PRECISE = {name: kind for name, kind in METHODS.items() if hasattr(kind, "precision")}

# Of one measure: for structural, logical and mean, None where a number lacks.
Differences: TypeAlias = Sequence["Difference | None"]

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


@dataclasses.dataclass(frozen=True)
class Difference:
    """One number at a second precision less that at the first.

    of_means: difference of the means over the seeds.
    by_seed: difference of each seed that both have.
    spread: sample standard deviation of the first over its seeds; None for one seed.
    within: whether |difference of the means| <= spread; None where there is none.
    paired: mean of `by_seed`; None where no seed pairs up.
    standard_error: of `paired`; None for fewer than two pairs.
    interval: the 95 % interval of `paired` by Student's t; None for fewer than two
        pairs. Above 31 pairs t is that of 31: it is a little too wide.
    shown: whether 0 is outside the interval; None where there is none.
    """

    of_means: float
    by_seed: Mapping[int, float]
    spread: Number
    within: bool | None
    paired: Number
    standard_error: Number = None
    interval: tuple[float, float] | None = None
    shown: bool | None = None


def difference(
    first: Mapping[int, Number], second: Mapping[int, Number]
) -> Difference | None:
    """Second less first, each by seed; None where either lacks a number."""
    mean_1, mean_2 = mean(list(first.values())), mean(list(second.values()))
    if mean_1 is None or mean_2 is None:
        return None
    of_means, spread = mean_2 - mean_1, deviation(list(first.values()))
    pairs = {seed: (first[seed], second[seed]) for seed in first if seed in second}
    by_seed = {seed: b - a for seed, (a, b) in pairs.items()}  # type: ignore[operator]
    paired, moved = mean(list(by_seed.values())), deviation(list(by_seed.values()))
    within = None if spread is None else abs(of_means) <= spread + ROUNDING
    if paired is None or moved is None:
        return Difference(of_means, by_seed, spread, within, paired)
    error = moved / math.sqrt(len(by_seed))
    half = T_975[min(len(by_seed) - 1, len(T_975)) - 1] * error
    low, high = paired - half, paired + half
    shown = low > ROUNDING or high < -ROUNDING
    return Difference(
        of_means, by_seed, spread, within, paired, error, (low, high), shown
    )


@dataclasses.dataclass(eq=False, kw_only=True)
class Precisions(Study):
    """A method in float32 and in bfloat16: does the faster one cost accuracy?"""

    method: str = fields.field("gcad", fields.choices(*PRECISE))
    """A name of `PRECISE`; both runs are its cell with `precision` changed, so that
    flags reach both at once [ours]."""

    name = "precision"
    title = "Precision: bfloat16 against float32"
    reading = READING

    def label(self, run: str, config: Experiment) -> str:
        """The method and its precision."""
        return f"{config.method.title}, {run}"

    def cell(self, run: str) -> str:
        """That of the method."""
        del run
        return self.method

    def changes(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """The precision alone.

        Raises:
          UserError: `method` names none that has a precision.
        """
        del name
        fields.validate_fields(self, "config.")
        return {run: {"precision": run} for run in (FLOAT32, BFLOAT16)}

    def sections(self, dataset: str, runs: Mapping[str, FinishedRun]) -> list[str]:
        """What the differences say, and a table for each measure."""
        measures = dict(MEASURES)
        if has_method_scores(runs):
            measures[f"Image {DECIDES}"] = decision_auroc
        compared = {name: differences(runs, pick) for name, pick in measures.items()}
        parts = [f"## {dataset}", statement(compared)]
        for name, pick in measures.items():
            rows = [
                [
                    run.title,
                    *measure_cells(run.results, [(pick, k) for k in KIND_OR_MEAN]),
                ]
                for run in runs.values()
            ]
            rows += _rows(compared[name])
            parts += [f"### {name}", markdown_table(["", *HEADS], rows, 1)]
        return parts


def precision_study(given: str) -> Study:
    """Five seeds of one method in both precisions; given: as in `study_of_methods`."""
    return study_of_methods(Precisions, given, PRECISE, seeds=tuple(range(5)))


def differences(runs: Mapping[str, FinishedRun], pick: Pick) -> Differences:
    """bfloat16 less float32 for structural, logical and mean."""
    if FLOAT32 not in runs or BFLOAT16 not in runs:
        return [None] * len(KIND_OR_MEAN)
    return [
        difference(
            # Without test images there are seeds, but no numbers.
            *(
                dict(zip(run.seeds, run.values(pick, kind), strict=False))
                for run in (runs[FLOAT32], runs[BFLOAT16])
            )
        )
        for kind in KIND_OR_MEAN
    ]


def statement(by_measure: Mapping[str, Differences]) -> str:
    """Whether the differences lie within the spread, and what the pairs show."""
    compared = {
        f"{measure} {head}": difference
        for measure, differences in by_measure.items()
        for head, difference in zip(HEADS, differences, strict=True)
        if difference is not None
    }
    if not compared:
        return (
            "**Nothing is compared: that takes both float32 and bfloat16, and "
            "anomalous test images.**"
        )
    outside = _list({name: d for name, d in compared.items() if d.within is False})
    if all(d.within is None for d in compared.values()):
        spread = (
            "float32 has one seed and so no spread: whether the differences lie "
            "within it cannot be said."
        )
    elif outside:
        num_within = sum(bool(d.within) for d in compared.values())
        spread = (
            f"{num_within} of {len(compared)} differences lie within the spread of the "
            f"seeds. Outside: {outside}."
        )
    else:
        spread = f"All {len(compared)} differences lie within the spread of the seeds."
    if all(d.shown is None for d in compared.values()):
        return f"**{spread}**"
    shown = _list({name: d for name, d in compared.items() if d.shown})
    return f"**{spread}** The pairs show a difference in {shown or 'none'}."


def _list(named: Mapping[str, Difference]) -> str:
    return ", ".join(f"{name} ({_signed(d.of_means)})" for name, d in named.items())


def _rows(differences: Differences) -> list[list[str]]:
    """Below the two runs; none where nothing is compared."""
    known = [d for d in differences if d is not None]
    if not known:
        return []

    def row(name: str, text: Callable[[Difference], str]) -> list[str]:
        return [name, *(NONE if d is None else text(d) for d in differences)]

    def row_of_seed(seed: int) -> list[str]:
        return row(f"difference of seed {seed}", lambda d: _signed(d.by_seed[seed]))

    return [
        row("difference of the means", lambda d: _signed(d.of_means)),
        row(
            "spread: deviation of float32",
            lambda d: NONE if d.spread is None else f"{d.spread:.4f}",
        ),
        row(
            "within the spread",
            lambda d: {True: "yes", False: "no", None: NONE}[d.within],
        ),
        *map(row_of_seed, known[0].by_seed),
        row("mean of the pairs ± standard error", _paired),
        row(
            "95 % interval of it",
            lambda d: " to ".join(map(_signed, d.interval)) if d.interval else NONE,
        ),
    ]


def _signed(value: float) -> str:
    return f"{value:+z.4f}"


def _paired(d: Difference) -> str:
    if d.paired is None:
        return NONE
    error = d.standard_error
    return _signed(d.paired) + ("" if error is None else f" ± {error:.4f}")
