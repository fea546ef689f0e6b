"""The panels of a study of runs: structural, logical and their mean, with seeds."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gcad_jax.evaluation.scores import KIND_OR_MEAN
from gcad_jax.reporting import tables
from gcad_jax.reporting.plots.panel import BARS, Panel
from gcad_jax.reporting.tables import LIMIT, Pick, auroc, auspro
from gcad_jax.studies.grid.results import Finished


def of_measures(
    dataset: str, runs: Mapping[str, Finished], form: str = BARS
) -> list[Panel]:
    """AU-sPRO and image AU-ROC of every run."""
    by_title = {run.title: run for run in runs.values()}
    found = {title: (run, _published(run)) for title, run in by_title.items()}
    spro = {t: paper.auspro for t, (_, paper) in found.items() if paper}
    roc = {t: paper.auroc for t, (_, paper) in found.items() if paper}
    made = [
        panel(dataset, f"AU-sPRO up to {LIMIT}", by_title, auspro, spro),
        panel(dataset, "image AU-ROC", by_title, auroc, roc),
    ]
    return [dataclasses.replace(one, form=form) for one in made]


def panel(
    title: str,
    measure: str,
    runs: Mapping[str, Finished],
    pick: Pick,
    paper: Mapping[str, Sequence[float]] | None = None,
) -> Panel:
    """One measure of some runs. runs: by label."""
    values = {
        label: [run.values(pick, kind) for kind in KIND_OR_MEAN]
        for label, run in runs.items()
    }
    return Panel(title, measure, values, paper or {})


def _published(run: Finished) -> Any:
    if tables.comparable(run.results):
        return tables.published(run.title, run.results)
    return None
