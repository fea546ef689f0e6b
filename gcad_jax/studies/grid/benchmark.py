"""The benchmark: Tables 3, 5, 6, 7 (MVTec LOCO AD), 8 and 9 (MVTec AD) of the paper."""

from collections.abc import Callable, Mapping, Sequence

from gcad_jax.evaluation.scores import KIND_OR_MEAN, LIMITS, MEAN
from gcad_jax.reporting import tables
from gcad_jax.reporting.published import PublishedResults
from gcad_jax.reporting.tables import (
    Pick,
    at_limit,
    auroc,
    auspro,
    cell,
    markdown_table,
)
from gcad_jax.studies.grid.results import Finished, main_kind, of_kind

PAPER = " (paper)"
# The paper's numbers, None where they do not compare with those of the run.
Theirs = Callable[[PublishedResults, Finished], Sequence[float | None]]


def sections(dataset: str, runs: Mapping[str, Finished]) -> list[str]:
    """The tables of one data set, the paper's rows below ours where they compare."""
    first = next(iter(runs.values()))
    names = [result.name for result in first.results]
    own = first.results[0].dataset
    published = tables.published(first.title, first.results)
    forms = published.tables if published else ("Table 3", "Table 5", "Table 6", "")
    kind = main_kind(runs)
    parts = [f"## {dataset}", _reading(runs)]
    if len(names) > 1 and any(tables.has(run.results, auspro) for run in runs.values()):
        parts += [
            f"### AU-sPRO at 0.05, by category, {of_kind(kind)}{_form(own, 'Table 3')}",
            _by_category(runs, names, auspro, kind),
        ]
    parts += [
        f"### AU-sPRO at 0.05, by kind{_form(own, forms[1])}",
        _by_kind(runs, auspro, lambda paper: paper.auspro),
        f"### Image AU-ROC{_form(own, forms[2])}",
        _by_kind(runs, auroc, lambda paper: paper.auroc),
        *_auroc_by_category(runs, names, kind),
        f"### AU-sPRO by limit of the false positive rate, {of_kind(kind)}"
        f"{_form(own, 'Table 7')}",
        _by_limit(runs, kind),
    ]
    return parts


def _form(dataset: str, name: str) -> str:
    of_loco = name in ("Table 3", "Table 7")
    shown = name and not (of_loco and dataset != "mvtec_loco_ad")
    return f" (form of {name})" if shown else ""


def _reading(runs: Mapping[str, Finished]) -> str:
    several = max(len(run.seeds) for run in runs.values())
    spread = (
        f" ± is the sample standard deviation over {several} seeds; where it is "
        "missing there is one seed, as of methods that train nothing."
        if several > 1
        else " One seed."
    )
    own = next(iter(runs.values())).results[0].dataset
    if not any(tables.published(run.title, run.results) for run in runs.values()):
        why = [f"The paper has no rows for {own}."]
    else:
        why = list(
            dict.fromkeys(
                tables.why_not_comparable(run.title, run.results)
                for run in runs.values()
            )
        )
    many = len(next(iter(runs.values())).results) > 1
    over = "Where no category is named, the mean over them." if many else ""
    return " ".join(filter(None, [over, spread.strip(), *why]))


def _rows(
    runs: Mapping[str, Finished],
    ours: Callable[[Finished], list[str]],
    theirs: Theirs,
) -> list[list[str]]:
    rows = []
    for run in runs.values():
        rows.append([run.title, *ours(run)])
        paper = tables.published(run.title, run.results)
        row = theirs(paper, run) if paper else []
        if any(value is not None for value in row):
            rows.append([run.title + PAPER, *(cell([value]) for value in row)])
    return rows


def _by_category(
    runs: Mapping[str, Finished], names: Sequence[str], pick: Pick, kind: str
) -> str:
    def ours(run: Finished) -> list[str]:
        of_each = [cell([pick(s, kind) for s in r.combined]) for r in run.results]
        return [*of_each, cell(run.values(pick, kind))]

    def theirs(paper: PublishedResults, run: Finished) -> list[float | None]:
        if pick is not auspro or kind != MEAN:  # of these the paper prints no table
            return []
        of_each = [
            paper.by_category.get(result.name) if result.complete else None
            for result in run.results
        ]
        mean = paper.auspro[2] if tables.comparable(run.results) else None
        return [*of_each, mean if paper.by_category else None]

    return markdown_table(["Method", *names, "mean"], _rows(runs, ours, theirs), 1)


def _auroc_by_category(
    runs: Mapping[str, Finished], names: Sequence[str], kind: str
) -> list[str]:
    if len(names) < 2:
        return []
    heading = f"### Image AU-ROC, by category, {of_kind(kind)}"
    return [heading, _by_category(runs, names, auroc, kind)]


def _by_kind(
    runs: Mapping[str, Finished],
    pick: Pick,
    theirs: Callable[[PublishedResults], Sequence[float]],
) -> str:
    rows = _rows(
        runs,
        lambda run: [cell(run.values(pick, k)) for k in KIND_OR_MEAN],
        _if_comparable(theirs),
    )
    return markdown_table(["Method", *tables.HEADS], rows, 1)


def _if_comparable(
    theirs: Callable[[PublishedResults], Sequence[float | None]],
) -> Theirs:
    return lambda paper, run: theirs(paper) if tables.comparable(run.results) else []


def _by_limit(runs: Mapping[str, Finished], kind: str) -> str:
    rows = _rows(
        runs,
        lambda run: [cell(run.values(at_limit(limit), kind)) for limit in LIMITS],
        _if_comparable(lambda paper: [paper.by_limit.get(limit) for limit in LIMITS]),
    )
    return markdown_table(["Method", *LIMITS], rows, 1)
