"""The benchmark: Tables 3, 5, 6, 7 (MVTec LOCO AD), 8 and 9 (MVTec AD) of the paper."""

from collections.abc import Callable, Mapping, Sequence

from gcad_jax.evaluation import tables
from gcad_jax.evaluation.paper import Published
from gcad_jax.evaluation.scores import KIND_OR_MEAN, LIMITS, MEAN
from gcad_jax.evaluation.tables import Pick, at_limit, auroc, auspro, cell, table
from gcad_jax.studies.finished import Finished

PAPER = " (paper)"
Theirs = Callable[[Published], Sequence[float | None]]


def sections(dataset: str, runs: Mapping[str, Finished]) -> list[str]:
    """The tables of one data set, the paper's rows below ours where they compare."""
    first = next(iter(runs.values()))
    names = [result.name for result in first.results]
    own = first.results[0].dataset
    published = tables.published(first.title, first.results)
    forms = published.tables if published else ("Table 3", "Table 5", "Table 6", "")
    parts = [f"## {dataset}", _reading(runs)]
    if len(names) > 1 and any(tables.has(run.results, auspro) for run in runs.values()):
        parts += [
            f"### AU-sPRO at 0.05, by category{_form(own, 'Table 3')}",
            _by_category(runs, names),
        ]
    parts += [
        f"### AU-sPRO at 0.05, by kind{_form(own, forms[1])}",
        _by_kind(runs, auspro, lambda paper: paper.auspro),
        f"### Image AU-ROC{_form(own, forms[2])}",
        _by_kind(runs, auroc, lambda paper: paper.auroc),
        f"### AU-sPRO by limit of the false positive rate{_form(own, 'Table 7')}",
        _by_limit(runs),
    ]
    return parts


def _form(dataset: str, name: str) -> str:
    of_loco = name in ("Table 3", "Table 7")
    shown = name and not (of_loco and dataset != "mvtec_loco_ad")
    return f" (form of {name})" if shown else ""


def _reading(runs: Mapping[str, Finished]) -> str:
    several = max(len(run.seeds) for run in runs.values())
    spread = (
        f" ± is the sample standard deviation over {several} seeds; methods without "
        "training have one."
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
    return " ".join(["Mean over the categories." + spread, *filter(None, why)])


def _rows(
    runs: Mapping[str, Finished],
    ours: Callable[[Finished], list[str]],
    theirs: Theirs,
) -> list[list[str]]:
    rows = []
    for run in runs.values():
        rows.append([run.title, *ours(run)])
        paper = tables.published(run.title, run.results)
        if paper and tables.comparable(run.results):
            rows.append([run.title + PAPER, *(cell([x]) for x in theirs(paper))])
    return rows


def _by_category(runs: Mapping[str, Finished], names: Sequence[str]) -> str:
    def ours(run: Finished) -> list[str]:
        of_each = [cell([auspro(s, MEAN) for s in r.combined]) for r in run.results]
        return [*of_each, cell(run.values(auspro, MEAN))]

    def theirs(paper: Published) -> list[float | None]:
        return [*(paper.by_category.get(name) for name in names), paper.auspro[2]]

    return table(["Method", *names, "mean"], _rows(runs, ours, theirs), 1)


def _by_kind(
    runs: Mapping[str, Finished],
    pick: Pick,
    theirs: Callable[[Published], Sequence[float]],
) -> str:
    rows = _rows(
        runs, lambda run: [cell(run.values(pick, k)) for k in KIND_OR_MEAN], theirs
    )
    return table(["Method", *tables.HEADS], rows, 1)


def _by_limit(runs: Mapping[str, Finished]) -> str:
    rows = _rows(
        runs,
        lambda run: [cell(run.values(at_limit(limit), MEAN)) for limit in LIMITS],
        lambda paper: [paper.by_limit.get(limit) for limit in LIMITS],
    )
    return table(["Method", *LIMITS], rows, 1)
