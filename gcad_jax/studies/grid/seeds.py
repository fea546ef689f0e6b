"""How far numbers and rankings move from seed to seed."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from gcad_jax.core import fields
from gcad_jax.evaluation.result_files import deviation, mean
from gcad_jax.reporting.plots.panels import POINTS
from gcad_jax.reporting.tables import (
    DECISION_MEASURES,
    MEASURES,
    NONE,
    Columns,
    Pick,
    auspro,
    cell,
    decision_auroc,
    markdown_table,
)
from gcad_jax.studies.grid.presets import study_of_methods
from gcad_jax.studies.grid.results import (
    FinishedRun,
    has_method_scores,
    kind_heading,
    main_kind,
)
from gcad_jax.studies.grid.study import Study
from gcad_jax.studies.statistics import (
    LEVEL,
    POWER,
    kendall_tau,
    order_signs,
    seeds_for_difference,
)

# By what methods are ranked.
RANKED: Mapping[str, Pick] = {
    "AU-sPRO at 0.05": auspro,
    "Image AU-ROC": decision_auroc,
}


@dataclasses.dataclass(eq=False, kw_only=True)
class Seeds(Study):
    """Many seeds of a method: how far do its numbers and rankings move?"""

    difference: float = fields.field(0.02, fields.POSITIVE)
    """Of two methods' AU-sPRO or AU-ROC: how many seeds show it [ours]."""

    name = "seeds"
    title = "Seeds"
    panel_form = POINTS  # one for every seed

    def sections(self, dataset: str, runs: Mapping[str, FinishedRun]) -> list[str]:
        """Every seed, their spread, and how stable two rankings are."""
        parts = [f"## {dataset}"]
        for run in runs.values():
            parts += [
                f"### {run.title}",
                _table_of_seeds(run),
                _agreement_sentence(run),
            ]
        if needed := _seeds_needed(runs, self.difference):
            parts += [f"### Seeds that a difference of {self.difference:g} needs"]
            parts += needed
        ranking = [
            part
            for name, pick in RANKED.items()
            for part in _rank_methods(runs, name, pick)
        ]
        if ranking:
            parts += ["### Ranking of the methods", *ranking]
        return parts


def seed_study(given: str) -> Study:
    """Eight seeds of GCAD, or of the methods that `runs` names."""
    return study_of_methods(Seeds, given, runs=("gcad",), seeds=tuple(range(8)))


def _measures(runs: Mapping[str, FinishedRun]) -> dict[str, tuple[Pick, str]]:
    """The columns of tables of these runs."""
    return {**MEASURES, **(DECISION_MEASURES if has_method_scores(runs) else {})}


def _table_of_seeds(run: FinishedRun) -> str:
    columns = {
        head: run.values(pick, kind)
        for head, (pick, kind) in _measures({"": run}).items()
    }
    rows = [
        [str(seed), *(cell([values[i]]) for values in columns.values())]
        for i, seed in enumerate(run.seeds)
        if all(result.combined for result in run.results)
    ]
    if not rows:
        return "There are no test images."
    rows.append(["mean ± deviation", *(cell(values) for values in columns.values())])
    for name, pick in (("lowest", min), ("highest", max)):
        known = [[v for v in values if v is not None] for values in columns.values()]
        rows.append([name, *(cell([pick(v)]) if v else NONE for v in known)])
    return markdown_table(["Seed", *columns], rows, 1)


def image_agreement(run: FinishedRun) -> list[float]:
    """Kendall's tau of the image scores that decide, by category and pair of seeds.

    1: both seeds rank all images alike; 0: no relation. Ties count as in tau-b.
    """
    taus = []
    for result in run.results:
        scores = [np.asarray(seed.decision_scores) for seed in result.combined]
        for one, other in itertools.combinations(scores, 2):
            tau = kendall_tau(order_signs(np.column_stack([one, other])))
            if tau is not None and np.isfinite(tau[0]):
                taus.append(float(tau[0]))
    return taus


def _agreement_sentence(run: FinishedRun) -> str:
    taus = image_agreement(run)
    if not taus:
        return (
            "Rankings of the test images are not compared: that takes two seeds and "
            "two test images."
        )
    return (
        "Two seeds rank the test images by their scores with a Kendall's tau of "
        f"{np.mean(taus):.3f} on average ({min(taus):.3f} to {max(taus):.3f} over "
        "categories and pairs of seeds)."
    )


def _seeds_needed(runs: Mapping[str, FinishedRun], difference: float) -> list[str]:
    """For each method and measure, how many seeds show a difference that large."""
    measures = _measures(runs)
    rows = [
        [run.title, *_needed_cells(run, measures.values(), difference)]
        for run in runs.values()
        if len(run.seeds) > 1
    ]
    if not rows:
        return []
    about = (
        f"Seeds of each of two methods with this deviation, so that a two-sided t-test "
        f"of level {LEVEL:g} finds a difference of {difference:g} between their means "
        f"with probability {POWER:g}."
    )
    return [markdown_table(["Method", *measures], rows, 1), about]


def _needed_cells(run: FinishedRun, columns: Columns, difference: float) -> list[str]:
    spreads = [deviation(run.values(pick, kind)) for pick, kind in columns]
    return [
        NONE if spread is None else str(seeds_for_difference(spread, difference))
        for spread in spreads
    ]


def _rank_methods(runs: Mapping[str, FinishedRun], name: str, pick: Pick) -> list[str]:
    """How often each method is ahead of each, over all pairs of their seeds."""
    kind = main_kind(runs)
    numbers = {
        run.title: [v for v in run.values(pick, kind) if v is not None]
        for run in runs.values()
    }
    numbers = {title: values for title, values in numbers.items() if values}
    if len(numbers) < 2:
        return []
    titles = sorted(numbers, key=lambda t: -(mean(numbers[t]) or 0.0))
    rows = []
    for title in titles:
        shares = []
        for other in titles:
            difference = np.subtract.outer(numbers[title], numbers[other])
            share = np.mean((difference > 0) + (difference == 0) / 2)
            shares.append(NONE if title == other else f"{share:.2f}")
        rows.append([title, *shares])
    caption = (
        f"{name}, {kind_heading(kind)}: share of all pairs of seeds in which "
        "the method of the row is ahead of that of the column (a tie counts half)."
    )
    return [
        caption,
        markdown_table(["Method", *titles], rows, 1),
        *_same_order(numbers),
    ]


def _same_order(numbers: Mapping[str, Sequence[float]]) -> list[str]:
    """Agreement of whole rankings, seed i of each method taken together."""
    seeds = max(len(values) for values in numbers.values())
    if seeds < 2:
        return []
    means = np.array([np.mean(values) for values in numbers.values()])
    # A method with fewer seeds repeats them: (methods, seeds).
    by_seed = np.array([np.resize(values, seeds) for values in numbers.values()])
    signs = order_signs(np.column_stack([means, by_seed]))
    taus = kendall_tau(signs)
    if taus is None or not np.isfinite(taus).any():
        return []
    whole = np.mean(taus > 1 - 1e-9)
    pairs = "one pair" if len(signs) == 1 else f"{len(signs)} pairs"
    return [
        f"Ranking by one seed each against the ranking of the means over "
        f"{seeds} seeds, {pairs} of methods: Kendall's tau "
        f"{np.nanmean(taus):.3f} on average, {np.nanmin(taus):.3f} at the least; the "
        f"whole order is the same in {whole:.0%} of the seeds."
    ]
