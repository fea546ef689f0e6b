"""report.md: what was run, tables in the form of the paper's, figures."""

import dataclasses
import itertools
from collections.abc import Sequence
from urllib.parse import quote

from gcad_jax.core.atomic_files import write_text
from gcad_jax.core.paths import Path
from gcad_jax.data.dataset import KINDS
from gcad_jax.evaluation.results import MEAN, CategoryResult
from gcad_jax.reporting import tables
from gcad_jax.reporting.published import PublishedResults


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the report.

    caption: below it. path: relative to the report. alt: what it shows, in a few words,
    for those who do not see it; the caption where it is empty. about: the category.
    """

    caption: str
    path: str
    alt: str = ""
    about: str = ""


def write_report(
    path: Path,
    method: str,
    sentences: Sequence[str],
    results: Sequence[CategoryResult],
    figures: Sequence[Figure] = (),
) -> None:
    """`report.md`: what was run, the tables, the figures.

    method: its name in the paper's tables ("GCAD").
    sentences: what was run: settings, weights, hardware, time.
    results: categories of one data set, in the order of the columns.

    Raises UserError where it cannot be written.
    """
    dataset = f" on {results[0].dataset}" if results else ""
    parts = [f"# {method}{dataset}", _bullet_list(sentences)]
    if results:
        parts += [_data_section(results), *_score_sections(method, results)]
    else:
        parts.append("No category is evaluated yet.")
    if figures:
        parts += ["## Figures", *_figure_sections(figures)]
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")


def _figure_sections(figures: Sequence[Figure]) -> list[str]:
    """Links and captions, below the name of their category where there are several."""
    parts = []
    several = len({figure.about for figure in figures}) > 1
    for about, group in itertools.groupby(figures, lambda figure: figure.about):
        if several:
            parts.append(f"### {about}")
        for figure in group:
            alt, path = figure.alt or figure.caption, quote(figure.path)
            parts.append(f"![{alt}]({path})\n\n*{figure.caption}*")
    return parts


def _data_section(results: Sequence[CategoryResult]) -> str:
    rows = [
        [r.name, *(str(r.count(kind)) for kind in KINDS), "yes" if r.complete else "no"]
        for r in results
    ]
    head = ["Category", *(f"test {h}" for h in ("good", "structural", "logical"))]
    text = "## Data\n\n" + tables.markdown_table([*head, "complete"], rows, 1)
    notes = [f"{r.name}: {note}" for r in results for note in r.notes]
    parts = [text, _bullet_list(notes)]
    fits = [f"{r.name}: {sentence}" for r in results for sentence in r.fit]
    if fits:
        parts += ["## Fit", _FIT, _bullet_list(fits)]
    return "\n\n".join(part for part in parts if part)


_FIT = "What the method found among the training images, before it saw a test image:"


def _score_sections(method: str, results: Sequence[CategoryResult]) -> list[str]:
    tested = [r for r in results if r.combined and r.images]
    paper = tables.find_published(method, results)
    localized = tables.has_numbers(tested, tables.auspro)
    classified = tables.has_numbers(tested, tables.auroc)
    parts = []
    if localized or classified:
        parts += ["## Results", _how_to_read(tested)]
        parts.append(tables.why_not_comparable(method, tested))
    if localized:
        parts += _localization_tables(method, tested, paper)
    else:
        parts.append(
            "There is no AU-sPRO: it needs anomalous test images with masks, and "
            "pixels outside them."
        )
    if classified:
        parts += _classification_tables(method, tested, paper)
    else:
        parts.append(
            "There is no image AU-ROC: it needs good and anomalous test images."
        )
    if any(len(result.branches) > 1 for result in tested) and (localized or classified):
        parts += ["### By map", _BRANCHES, tables.by_branch(tested)]
    if any(result.combined[0].defects for result in tested):
        parts += ["### By defect type", _DEFECTS, tables.by_defect(tested)]
    if any(scores for result in results for scores in result.validation):
        parts += [
            "### Scores of good validation images",
            _about_validation(results),
            tables.validation(results),
        ]
    return parts


_BRANCHES = (
    "AU-sPRO at a false positive rate of 0.05 and image AU-ROC of each anomaly map "
    "alone and of their combination."
)
_DEFECTS = (
    "Each type against all good images of its category: AU-sPRO at 0.05, image AU-ROC."
)


def _about_validation(results: Sequence[CategoryResult]) -> str:
    which = "maximum of the combined map"
    if tables.has_method_scores(results):
        which += f", and {_score_that_decides(results)}, which decides"
    return (
        f"Image scores ({which}) of good images that training did not see: a new image "
        "that scores far above the highest is likely anomalous."
    )


def _score_that_decides(results: Sequence[CategoryResult]) -> str:
    """What the method's own image score is: the same in all categories."""
    names = [result.image_score for result in results if result.has_method_scores]
    return " or ".join(dict.fromkeys(names))


def _how_to_read(results: Sequence[CategoryResult]) -> str:
    scores = [s for r in results for seeds in r.branches.values() for s in seeds]
    precision = exact = "exact (every distinct score is a threshold)"
    if not all(s.exact for s in scores):
        bounds = [*(bound for s in scores for bound in s.bounds.values())]
        bounds += [defect.bound or 0.0 for s in scores for defect in s.defects]
        others = f"; {exact} elsewhere" if any(s.exact for s in scores) else ""
        precision = (
            f"within {max(bounds, default=0):.1g} of the exact value (counted by "
            f"intervals of scores, with a proved bound) in large categories{others}"
        )
    text = (
        "AU-sPRO and AU-ROC lie in 0..1, larger is better; an AU-ROC of 0.5 is chance. "
        '"mean" is half the sum of structural and logical. AU-sPRO is '
        f"{precision}, at the original image size."
    )
    seeds = max(len(result.seeds) for result in results)
    if seeds > 1:
        text += f" ± is the sample standard deviation over {seeds} seeds."
    return text


def _localization_tables(
    method: str, results: Sequence[CategoryResult], paper: PublishedResults | None
) -> list[str]:
    parts = []
    if tables.has_numbers(results, tables.auspro, MEAN):
        parts += [
            "### AU-sPRO at 0.05 by category" + _paper_form("Table 3"),
            tables.by_category([(method, results)], label=tables.OURS),
        ]
    return [
        *parts,
        "### AU-sPRO at 0.05 by kind"
        + _paper_form(paper.tables[1] if paper else "Table 5"),
        tables.by_kind(method, results, tables.auspro, paper.auspro if paper else None),
        "### AU-sPRO by limit of the false positive rate" + _paper_form("Table 7"),
        tables.by_limit(method, results),
    ]


def _classification_tables(
    method: str, results: Sequence[CategoryResult], paper: PublishedResults | None
) -> list[str]:
    """AU-ROC of the maximum of the map, and of the score that decides if another."""
    title = "### Image AU-ROC" + _paper_form(paper.tables[2] if paper else "Table 6")
    published = paper.auroc if paper else None
    table = tables.by_kind(method, results, tables.auroc, published)
    if not tables.has_method_scores(results):
        return [title, table]
    return [
        title,
        "Of the maximum of the map, as in the paper and in metrics.json.",
        table,
        "### Image AU-ROC of the score that decides",
        f"Of the image score of this method: {_score_that_decides(results)}. By it an "
        "image is called anomalous or not.",
        tables.by_kind(method, results, tables.decision_auroc, None),
    ]


def _paper_form(name: str) -> str:
    return f" (form of the paper's {name})"


def _bullet_list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
