"""The benchmark: Tables 3, 5, 6, 7 (MVTec LOCO AD), 8 and 9 (MVTec AD) of the paper."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gcad_jax.config import presets
from gcad_jax.core.checks import one_of
from gcad_jax.evaluation.results import ANOMALOUS, KIND_OR_MEAN, LIMITS
from gcad_jax.reporting import tables
from gcad_jax.reporting.published import PublishedResults
from gcad_jax.reporting.tables import (
    Pick,
    auroc,
    auspro,
    auspro_at,
    cell,
    decision_auroc,
    markdown_table,
    short,
)
from gcad_jax.studies.grid.presets import study_of_methods
from gcad_jax.studies.grid.results import (
    FinishedRun,
    Lines,
    has_method_scores,
    kind_heading,
    main_kind,
)
from gcad_jax.studies.grid.study import Study


class Benchmark(Study):
    """All methods on some data sets: Tables 3, 5 to 9."""

    name = "benchmark"
    title = "Benchmark of the methods"

    def sections(self, dataset: str, runs: Mapping[str, FinishedRun]) -> list[str]:
        """The paper's tables, its rows below ours where they compare."""
        first = next(iter(runs.values()))
        several = len(first.results) > 1
        by_method = [(run.title, run.results) for run in runs.values()]
        published = tables.find_published(first.title, first.results)
        forms = published.tables if published else ("Table 3", "Table 5", "Table 6", "")
        # Tables 3 and 7 are of MVTec LOCO AD alone.
        of_loco = first.results[0].dataset == "mvtec_loco_ad"
        kind = main_kind(runs)
        parts = [f"## {dataset}", _reading(runs)]
        if several and any(
            tables.has_numbers(run.results, auspro) for run in runs.values()
        ):
            parts += [
                f"### AU-sPRO at 0.05, by category, {kind_heading(kind)}"
                f"{_form('Table 3' if of_loco else '')}",
                tables.by_category(by_method, auspro, kind),
            ]
        parts += [
            f"### AU-sPRO at 0.05, by kind{_form(forms[1])}",
            _overall(runs, _by_kind(auspro), lambda paper: paper.auspro),
            f"### Image AU-ROC{_form(forms[2])}",
            _overall(runs, _by_kind(auroc), lambda paper: paper.auroc),
        ]
        if has_method_scores(runs):
            parts += [
                "### Image AU-ROC of the score that decides",
                _which_scores(runs),
                _overall(runs, _by_kind(decision_auroc), lambda paper: ()),
            ]
        if several:
            parts += [
                f"### Image AU-ROC, by category, {kind_heading(kind)}",
                tables.by_category(by_method, auroc, kind),
            ]
        if several and has_method_scores(runs):
            parts += [
                "### Image AU-ROC of the score that decides, by category, "
                f"{kind_heading(kind)}",
                tables.by_category(by_method, decision_auroc, kind),
            ]
        return [
            *parts,
            f"### AU-sPRO by limit of the false positive rate, {kind_heading(kind)}"
            f"{_form('Table 7' if of_loco else '')}",
            _overall(
                runs,
                {limit: (auspro_at(limit), kind) for limit in LIMITS},
                lambda paper: [paper.by_limit.get(limit) for limit in LIMITS],
            ),
        ]

    def curves(self, runs: Mapping[str, FinishedRun]) -> Lines:
        """Of every run that has curves; a kind that none has is left out."""
        by_kind: dict[str, dict[str, np.ndarray]] = {}
        for kind in ANOMALOUS:
            for run in runs.values():
                curves = [
                    scores.curves[kind]
                    for result in run.results
                    for scores in result.combined
                    if kind in scores.curves
                ]
                if curves:
                    mean = np.mean(curves, axis=0)
                    by_kind.setdefault(short(kind), {})[run.title] = mean
        return by_kind


class Toy(Benchmark):
    """Student-Teacher, VAE and GCAD on the circles: Fig. 1."""

    name = "toy"
    title = "The toy circles"


def benchmark_study(given: str) -> Study:
    """All methods; given: as in `study_of_methods`."""
    return study_of_methods(Benchmark, given)


def toy_study(given: str) -> Study:
    """Three methods on the circles.

    given: "" or "small".

    Raises:
      UserError: another word.
    """
    one_of(presets.BEHIND, given, (presets.PAPER, presets.SMALL))
    circles = ",".join(filter(None, (given, "circles")))
    runs = ("student_teacher", "vae", "gcad")
    return study_of_methods(Toy, circles, runs=runs, write_maps=True)


def _form(paper_table: str) -> str:
    return f" (form of {paper_table})" if paper_table else ""


def _reading(runs: Mapping[str, FinishedRun]) -> str:
    """How to read the tables of a data set."""
    results = next(iter(runs.values())).results
    sentences = []
    if len(results) > 1:
        sentences.append("Where no category is named, the mean over them.")
    most_seeds = max(len(run.seeds) for run in runs.values())
    sentences.append(
        f"± is the sample standard deviation over {most_seeds} seeds; where it is "
        "missing there is one seed, as of methods that train nothing."
        if most_seeds > 1
        else "One seed."
    )
    if any(tables.find_published(run.title, run.results) for run in runs.values()):
        sentences += [
            tables.why_not_comparable(run.title, run.results) for run in runs.values()
        ]
    else:
        sentences.append(f"The paper has no rows for {results[0].dataset}.")
    return " ".join(dict.fromkeys(filter(None, sentences)))


def _which_scores(runs: Mapping[str, FinishedRun]) -> str:
    """Which image score each method decides by."""
    names = {
        run.title: run.results[0].image_score
        for run in runs.values()
        if tables.has_method_scores(run.results)
    }
    which = "; ".join(f"{title}: {name}" for title, name in names.items())
    others = "; others: the maximum of the map" if len(names) < len(runs) else ""
    return f"By it an image is called anomalous or not. {which}{others}."


def _overall(
    runs: Mapping[str, FinishedRun],
    columns: Mapping[str, tuple[Pick, str]],
    published_row: Callable[[PublishedResults], Sequence[float | None]],
) -> str:
    """A table of means over the categories. columns: number and kind, by heading."""
    rows = []
    for run in runs.values():
        rows.append([run.title, *tables.measure_cells(run.results, columns.values())])
        paper = tables.find_published(run.title, run.results)
        row = (
            published_row(paper) if paper and tables.is_comparable(run.results) else ()
        )
        if any(value is not None for value in row):
            rows.append([run.title + tables.PAPER, *(cell([value]) for value in row)])
    return markdown_table(["Method", *columns], rows, 1)


def _by_kind(pick: Pick) -> dict[str, tuple[Pick, str]]:
    kinds = zip(tables.HEADS, KIND_OR_MEAN, strict=True)
    return {head: (pick, kind) for head, kind in kinds}
