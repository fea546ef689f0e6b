"""Tables of results: Markdown, in the form of the paper's Tables 3, 5, 6, 7 (8, 9).

Numbers have three decimals; with several seeds they are mean ± sample standard
deviation over the seeds; a dash stands where there is nothing to compute.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from gcad_jax.core.types import COMBINED, MAP_MAXIMUM
from gcad_jax.evaluation.results import (
    ANOMALOUS,
    KIND_OR_MEAN,
    LIMITS,
    MEAN,
    CategoryResult,
    Number,
    Scores,
    half_sum,
)
from gcad_jax.reporting.published import CATEGORIES, PUBLISHED, PublishedResults

LIMIT = "0.05"  # the paper's false positive rate [P 5.3]
HEADS = tuple(kind.replace("_anomalies", "") for kind in KIND_OR_MEAN)
NONE = "-"
DECIDES = "AU-ROC of the score that decides"
OURS, PAPER = " (this run)", " (paper)"  # behind the method, at the head of a row
Pick: TypeAlias = Callable[[Scores, str], Number]  # scores, kind or "mean" -> number
Columns: TypeAlias = Iterable[tuple[Pick, str]]


def auspro(scores: Scores, kind: str) -> Number:
    """AU-sPRO at the paper's limit."""
    return scores.auspro[kind][LIMIT]


def auroc(scores: Scores, kind: str) -> Number:
    """Image AU-ROC."""
    return scores.auroc[kind]


def decision_auroc(scores: Scores, kind: str) -> Number:
    """Image AU-ROC of the score that decides: the method's own where it has one."""
    return (scores.method_scores or scores).auroc[kind]


# Heading -> number and kind of all columns of a table that has both measures.
MEASURES: Mapping[str, tuple[Pick, str]] = {
    f"{name} {head}": (pick, kind)
    for name, pick in (("AU-sPRO", auspro), ("AU-ROC", auroc))
    for kind, head in zip(KIND_OR_MEAN, HEADS, strict=True)
}


# The further columns where another score than the maximum of the map decides.
DECISION_MEASURES: Mapping[str, tuple[Pick, str]] = {
    f"AU-ROC {head} (decides)": (decision_auroc, kind)
    for kind, head in zip(KIND_OR_MEAN, HEADS, strict=True)
}


def auspro_at(limit: str) -> Pick:
    """AU-sPRO at a limit."""
    return lambda scores, kind: scores.auspro[kind][limit]


def cell(values: Sequence[Number]) -> str:
    """One number for each seed -> "0.701" or "0.701 ± 0.012"."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return NONE
    text = f"{statistics.fmean(known):.3f}"
    return text if len(known) == 1 else f"{text} ± {statistics.stdev(known):.3f}"


def markdown_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    text_columns: int,
    aligned: bool = False,
) -> str:
    """A Markdown table.

    text_columns: how many of the first columns are flush left; the others hold numbers.
    aligned: every column as wide as its cells, so that it reads as text, too.
    """
    lines = [[cell.replace("|", r"\|") for cell in row] for row in (head, *rows)]
    # A rule of Markdown has three characters or more.
    widths = [3] * len(head)
    if aligned:
        widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
        lines = [
            [
                cell.ljust(width) if i < text_columns else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            for line in lines
        ]
    rule = ["-" * (width - 1) for width in widths]
    rule = [f":{x}" if i < text_columns else f"{x}:" for i, x in enumerate(rule)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def category_means(
    results: Sequence[CategoryResult], pick: Pick, kind: str
) -> list[Number]:
    """Mean over the categories that have the number, for each seed.

    "mean" is half the sum of both kinds' means, as in the paper, so that a data set
    whose categories lack a kind (MVTec AD) has one.
    """
    if kind == MEAN:
        both = [category_means(results, pick, k) for k in ANOMALOUS]
        return [half_sum(*pair) for pair in zip(*both, strict=True)]
    means: list[Number] = []
    for scores_of_seed in zip(*(result.combined for result in results), strict=False):
        values = [pick(scores, kind) for scores in scores_of_seed]
        known = [value for value in values if value is not None]
        means.append(statistics.fmean(known) if known else None)
    return means


def has_numbers(results: Sequence[CategoryResult], pick: Pick, *kinds: str) -> bool:
    """Whether any category has the number for any of these kinds (or for any)."""
    return any(
        pick(scores, kind) is not None
        for result in results
        for scores in result.combined
        for kind in kinds or KIND_OR_MEAN
    )


def has_method_scores(results: Sequence[CategoryResult]) -> bool:
    """Whether another score than the maximum of the map decides in any category."""
    return any(result.has_method_scores for result in results)


def short(kind: str) -> str:
    """'structural_anomalies' -> 'structural'."""
    return kind.replace("_anomalies", "")


def find_published(
    method: str, results: Sequence[CategoryResult]
) -> PublishedResults | None:
    """The paper's numbers of this method on this data set."""
    return PUBLISHED.get(results[0].dataset, {}).get(method)


def is_comparable(results: Sequence[CategoryResult]) -> bool:
    """Whether these are all categories of the paper, each complete."""
    complete = {result.name for result in results if result.complete}
    expected = CATEGORIES.get(results[0].dataset)
    return expected is not None and set(expected) <= complete


def why_not_comparable(method: str, results: Sequence[CategoryResult]) -> str:
    """Why paper rows are left out, as a sentence; "" where all are shown."""
    dataset = results[0].dataset
    if find_published(method, results) is None:
        return f"The paper has no row for {method} on {dataset}."
    if partial := [result.name for result in results if not result.complete]:
        return (
            f"The paper's row is left out for {', '.join(partial)} and for means over "
            "categories: these images are not the complete published data set, so the "
            "numbers do not compare."
        )
    names = {result.name for result in results}
    if missing := [name for name in CATEGORIES[dataset] if name not in names]:
        return (
            "The paper's row is left out for means over categories: it is over all "
            f"{len(CATEGORIES[dataset])}, and {', '.join(missing)} did not run."
        )
    return ""


def measure_cells(results: Sequence[CategoryResult], columns: Columns) -> list[str]:
    """One cell for each column: the mean over the categories."""
    return [cell(category_means(results, pick, kind)) for pick, kind in columns]


def by_category(
    runs: Iterable[tuple[str, Sequence[CategoryResult]]],
    pick: Pick = auspro,
    kind: str = MEAN,
    label: str = "",
) -> str:
    """A column for each category and their mean (Table 3), the paper's rows below ours.

    runs: method and results, of the same categories. label: follows the method.
    """
    rows, names = [], list[str]()
    for method, results in runs:
        names = [result.name for result in results]
        ours = [measure_cells([result], [(pick, kind)])[0] for result in results]
        rows.append([method + label, *ours, *measure_cells(results, [(pick, kind)])])
        paper = find_published(method, results)
        if paper and pick is auspro and kind == MEAN:  # of no other there is a table
            theirs = [
                paper.by_category.get(r.name) if r.complete else None for r in results
            ]
            if any(value is not None for value in theirs):
                theirs.append(paper.auspro[2] if is_comparable(results) else None)
                rows.append([method + PAPER, *(cell([value]) for value in theirs)])
    return markdown_table(["Method", *names, "mean"], rows, 1)


def by_kind(
    method: str,
    results: Sequence[CategoryResult],
    pick: Pick,
    paper: Sequence[float] | None,
) -> str:
    """Structural, logical, mean (Tables 5, 6, 8, 9): overall, paper, each category."""
    columns = [(pick, kind) for kind in KIND_OR_MEAN]
    rows = _overall_rows(method, results, columns, paper or [], ["mean of all"])
    rows += [
        [method + OURS, result.name, *measure_cells([result], columns)]
        for result in results
    ]
    return markdown_table(["Method", "Category", *HEADS], rows, 2)


def by_limit(method: str, results: Sequence[CategoryResult]) -> str:
    """AU-sPRO at every limit (Table 7): mean of both kinds, or the one there is."""
    paper = find_published(method, results)
    theirs = [paper.by_limit[x] for x in LIMITS] if paper and paper.by_limit else []
    columns = [(auspro_at(limit), MEAN) for limit in LIMITS]
    rows = _overall_rows(method, results, columns, theirs, ["mean of all", "mean"])
    for result in results:
        kinds = [k for k in ANOMALOUS if has_numbers([result], auspro, k)]
        for kind in [MEAN] if len(kinds) > 1 else kinds:
            cells = measure_cells([result], [(pick, kind) for pick, _ in columns])
            rows.append([method + OURS, result.name, short(kind), *cells])
    return markdown_table(["Method", "Category", "Kind", *LIMITS], rows, 3)


def _overall_rows(
    method: str,
    results: Sequence[CategoryResult],
    columns: Columns,
    paper: Sequence[float],
    about: Sequence[str],
) -> list[list[str]]:
    """Means over several categories, and the paper's numbers where they compare."""
    rows = []
    if len(results) > 1:
        rows.append([method + OURS, *about, *measure_cells(results, columns)])
    if paper and is_comparable(results):
        rows.append([method + PAPER, *about, *(f"{x:.3f}" for x in paper)])
    return rows


def by_branch(results: Sequence[CategoryResult]) -> str:
    """Every branch: AU-sPRO at 0.05 and image AU-ROC of both kinds."""
    rows = [
        [
            result.name,
            f"{branch} (combined)" if branch == COMBINED else branch,
            *(cell([pick(s, kind) for s in seeds]) for pick, kind in MEASURES.values()),
        ]
        for result in results
        for branch, seeds in result.branches.items()
    ]
    return markdown_table(["Category", "Map", *MEASURES], rows, 2)


def by_defect(results: Sequence[CategoryResult]) -> str:
    """Every defect type of every category against all its good images."""
    rows = []
    decided = has_method_scores(results)
    for result in results:
        by_seed = (scores.defects for scores in result.combined)
        for defects in zip(*by_seed, strict=True):
            first = defects[0]
            counts = str(first.images), str(first.regions)
            areas = [[d.auspro[LIMIT] for d in defects], [d.auroc for d in defects]]
            if decided:
                of_seeds = [scores.method_scores for scores in result.combined]
                areas.append([s.defects.get(first.name) for s in of_seeds if s])
            about = result.name, first.name, short(first.kind)
            rows.append([*about, *counts, *map(cell, areas)])
    head = ["Category", "Defect type", "Kind", "Images", "Regions", "AU-sPRO", "AU-ROC"]
    return markdown_table([*head, *([DECIDES] if decided else [])], rows, 3)


def validation(results: Sequence[CategoryResult]) -> str:
    """Range of the image scores of good validation images, for each seed.

    Where another score than the maximum of the map decides, there is a row of each.
    """
    named = has_method_scores(results)
    rows = []
    for result in results:
        by_score = {MAP_MAXIMUM: result.validation}
        if result.has_method_scores:
            by_score[result.image_score] = result.method_validation
        for name, seeds in by_score.items():
            for seed, scores in zip(result.seeds, seeds, strict=True):
                if scores:
                    about = [result.name, name] if named else [result.name]
                    ends = (f"{f(scores):.3f}" for f in (min, statistics.median, max))
                    rows.append([*about, str(seed), str(len(scores)), *ends])
    about = ["Category", "Score"] if named else ["Category"]
    head = [*about, "Seed", "Images", "Lowest", "Median", "Highest"]
    return markdown_table(head, rows, len(about))
