"""The results of many runs, as every study of runs writes them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gcad_jax.core.types import COMBINED
from gcad_jax.evaluation.result_files import deviation, mean
from gcad_jax.evaluation.results import (
    ANOMALOUS,
    KIND_OR_MEAN,
    LIMITS,
    MEAN,
    CategoryResult,
    Number,
)
from gcad_jax.reporting import tables
from gcad_jax.reporting.plots.panels import BARS, Panel
from gcad_jax.reporting.tables import (
    LIMIT,
    Pick,
    auroc,
    auspro,
    auspro_at,
    category_means,
    decision_auroc,
    has_numbers,
    short,
)

# By kind, then by run: sPRO at the false positive rates of `evaluation.spro`.
Lines: TypeAlias = Mapping[str, Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """One run on one data set.

    title: of its method, or of an ablation its name. results: one for each category.
    """

    title: str
    results: tuple[CategoryResult, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the run; every category has the same."""
        return self.results[0].seeds

    def with_branch(self, branch: str) -> "FinishedRun":
        """The same with one of its maps in the place of the combined one."""
        if branch == COMBINED:
            return self
        return FinishedRun(
            self.title,
            tuple(
                dataclasses.replace(
                    result, branches={COMBINED: result.branches.get(branch, ())}
                )
                for result in self.results
            ),
        )

    def values(self, pick: Pick, kind: str) -> list[Number]:
        """One number for each seed: the mean over the categories that have it."""
        return category_means(self.results, pick, kind)


def has_method_scores(runs: Mapping[str, FinishedRun]) -> bool:
    """Whether another image score than the maximum of the map decides in any run."""
    return any(tables.has_method_scores(run.results) for run in runs.values())


def main_kind(runs: Mapping[str, FinishedRun]) -> str:
    """MEAN where there are numbers of both kinds, else the kind that has any."""
    results = [result for run in runs.values() for result in run.results]
    for pick in (auspro, auroc):
        for kind in (MEAN, *ANOMALOUS):
            if has_numbers(results, pick, kind):
                return kind
    return MEAN


def kind_heading(kind: str) -> str:
    """A kind as a heading says it."""
    return "mean of both kinds" if kind == MEAN else short(kind)


# By data set, then by the name of the run.
Runs = Mapping[str, Mapping[str, FinishedRun]]


def summarize(values: Sequence[Number]) -> dict[str, Any]:
    """The seeds one by one, their mean and their sample standard deviation."""
    return {"seeds": list(values), "mean": mean(values), "std": deviation(values)}


def numbers_as_json(runs: Runs) -> dict[str, Any]:
    """Every number of every run, category and seed."""
    return {
        dataset: {
            name: {
                "title": run.title,
                "seeds": list(run.seeds),
                "overall": _numbers(run),
                "categories": {
                    result.name: {
                        "complete": result.complete,
                        **_numbers(FinishedRun(run.title, (result,))),
                    }
                    for result in run.results
                },
            }
            for name, run in by_name.items()
        }
        for dataset, by_name in runs.items()
    }


def _numbers(run: FinishedRun) -> dict[str, Any]:
    numbers = {
        "auc_spro": {
            kind: {
                limit: summarize(run.values(auspro_at(limit), kind)) for limit in LIMITS
            }
            for kind in KIND_OR_MEAN
        },
        "auc_roc": {kind: summarize(run.values(auroc, kind)) for kind in KIND_OR_MEAN},
    }
    # Left out elsewhere, so that reports written before are found to be the same.
    if tables.has_method_scores(run.results):
        numbers["auc_roc_of_decision"] = {
            kind: summarize(run.values(decision_auroc, kind)) for kind in KIND_OR_MEAN
        }
    return numbers


def measure_panels(
    dataset: str, runs: Mapping[str, FinishedRun], form: str = BARS
) -> list[Panel]:
    """AU-sPRO and image AU-ROC of every run, beside the paper's where they compare."""
    by_title = {run.title: run for run in runs.values()}
    published = {
        title: paper
        for title, run in by_title.items()
        if tables.is_comparable(run.results)
        and (paper := tables.find_published(title, run.results))
    }
    papers_auspro = {title: paper.auspro for title, paper in published.items()}
    papers_auroc = {title: paper.auroc for title, paper in published.items()}
    spro_title = f"AU-sPRO up to {LIMIT}"
    shown = [
        make_panel(dataset, spro_title, by_title, auspro, papers_auspro, form),
        make_panel(dataset, "image AU-ROC", by_title, auroc, papers_auroc, form),
    ]
    if has_method_scores(runs):
        measure = tables.DECIDES.replace("AU-ROC", "image AU-ROC")
        shown.append(make_panel(dataset, measure, by_title, decision_auroc, form=form))
    return shown


def make_panel(
    title: str,
    measure: str,
    runs: Mapping[str, FinishedRun],
    pick: Pick,
    paper: Mapping[str, Sequence[float]] | None = None,
    form: str = BARS,
) -> Panel:
    """One measure of some runs. runs: by label."""
    values = {
        label: [run.values(pick, kind) for kind in KIND_OR_MEAN]
        for label, run in runs.items()
    }
    return Panel(title, measure, values, paper or {}, form)
