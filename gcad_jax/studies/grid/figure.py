"""The panels of a study of runs: structural, logical and their mean, with seeds."""

from collections.abc import Mapping, Sequence

from gcad_jax.evaluation.results import KIND_OR_MEAN
from gcad_jax.reporting import tables
from gcad_jax.reporting.plots.panel import BARS, Panel
from gcad_jax.reporting.tables import LIMIT, Pick, auroc, auspro
from gcad_jax.studies.grid.results import FinishedRun


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
    return [
        make_panel(dataset, spro_title, by_title, auspro, papers_auspro, form),
        make_panel(dataset, "image AU-ROC", by_title, auroc, papers_auroc, form),
    ]


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
