"""Report of the study of the saturation thresholds: tables of 80 columns, a figure."""

import contextlib
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import atomic_file
from gcad_jax.core.console import pluralize
from gcad_jax.evaluation.results import KIND_OR_MEAN, LIMITS
from gcad_jax.reporting import html
from gcad_jax.reporting.plots import style
from gcad_jax.reporting.tables import LIMIT, NONE, markdown_table, short
from gcad_jax.studies.saturation.statistics import mean_over_categories, with_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

JSON, MARKDOWN, PAGE = "saturation.json", "saturation.md", "saturation.html"
PNG, PDF = "saturation.png", "saturation.pdf"
OUTPUTS = (JSON, MARKDOWN, PAGE, PNG, PDF)

OVERALL = "all categories"
NOTHING_VARIES = (
    "No threshold varies: each is the area of its region, so every draw equals the "
    "original."
)
_MEAN = """\
Means over the categories, each with thresholds of its own in every draw, as the paper
ranks methods."""
_CAPTION = f"""\
*AU-sPRO up to {LIMIT} over the draws, one row a method: their distribution, their
middle 90 % (line) and the original thresholds (upright line).*"""

WIDTH = 80
MOST_PAIRS = 20  # of a table
LONGEST = 20  # characters of a method's label
COLUMNS = ("original", "mean", "std", "0.05", "0.5", "0.95")  # of a `spread`

# Of the figure; told apart by lightness, too.
_FILL, _EDGE, _ORIGINAL = style.COLORS[5], style.COLORS[0], style.COLORS[1]
_BINS = 60
_HEIGHT = 0.8  # of a distribution; rows are 1 apart


def write_report(
    folder: epath.Path, summary: Mapping[str, Any], auspro: Mapping[str, np.ndarray]
) -> None:
    """Writes OUTPUTS, all or none.

    summary: what saturation.json holds. auspro: by category, as in `ThresholdStudy`.
    """
    if len(auspro) > 1:
        auspro = {OVERALL: mean_over_categories(list(auspro.values())), **auspro}
    # Those of before stay until the last new one, which may be refused, is complete.
    with contextlib.ExitStack() as files:
        part = {
            name: files.enter_context(atomic_file(folder / name)) for name in OUTPUTS
        }
        text = json.dumps(summary, indent=2, allow_nan=False)
        part[JSON].write_text(text + "\n", encoding="utf-8")
        text = render_markdown(summary)
        part[MARKDOWN].write_text(text, encoding="utf-8")
        figure = render_figure(shorten(summary["methods"]), auspro)
        style.save_figure(figure, {"png": part[PNG], "pdf": part[PDF]})
        page = html.render_page(text, folder, {PNG: part[PNG]})
        part[PAGE].write_text(page, encoding="utf-8")


def shorten(names: Sequence[str]) -> list[str]:
    """Distinct labels of at most `LONGEST` characters: long names lose their middle."""
    labels: list[str] = []
    for number, name in enumerate(names, start=1):
        label = name if len(name) <= LONGEST else _without_middle(name, "…")
        if label in labels or (label != name and label in names):
            label = _without_middle(name, f"…{number}…")
        labels.append(label)
    return labels


def _without_middle(name: str, middle: str) -> str:
    characters = LONGEST - len(middle)
    end = characters // 2
    return name[: characters - end] + middle + name[len(name) - end :]


def render_markdown(summary: Mapping[str, Any]) -> str:
    """saturation.md; readable as text, too."""
    methods, categories = summary["methods"], summary["categories"]
    labels = dict(zip(methods, shorten(methods), strict=True))
    parts = ["# Sensitivity to the saturation thresholds", _method(summary["settings"])]
    if long := [f"- {label}: {m}" for m, label in labels.items() if label != m]:
        parts += ["Names that are shortened below:", "\n".join(long)]
    if summary["overall"]:
        varies = any(category["varying"] for category in categories.values())
        parts += [f"## {OVERALL.capitalize()}", _MEAN]
        parts += _tables(summary["overall"], labels, varies)
    for name, category in categories.items():
        parts += [f"## {name}", textwrap.fill(_facts(category), WIDTH)]
        parts += _tables(category, labels, category["varying"] > 0)
    parts += [f"![AU-sPRO of the draws]({PNG})", _CAPTION]
    return "\n\n".join(parts) + "\n"


def _method(settings: Mapping[str, Any]) -> str:
    relative = "" if settings["vary_relative"] else " or are relative"
    return textwrap.fill(
        f"{settings['num_draws']} draws (seed {settings['seed']}): the threshold of "
        f"each type of defect is uniform in {settings['low']:g} to "
        f"{settings['high']:g} times its original, the same for every method. Regions "
        f"that saturate at their area{relative} stay. AU-sPRO is in 0 to 1, larger is "
        f"better. {JSON} has all limits of the false positive rate, and every pair.",
        WIDTH,
    )


def _facts(category: Mapping[str, Any]) -> str:
    if not category["varying"]:
        return NOTHING_VARIES
    text = (
        f"The saturation of {category['varying']} of {category['regions']} regions "
        f"varies, by {pluralize(len(category['thresholds']), 'threshold')}."
    )
    if (bound := max(category["bound"].values())) > 0:
        text += f" Values are at most {bound:.1e} from exact."
    return text


def _tables(
    statistics: Mapping[str, Any], labels: Mapping[str, str], varies: bool
) -> list[str]:
    """labels: by method. varies: whether the ranking is worth a table."""
    parts = [f"AU-sPRO up to a false positive rate of {LIMIT}:"]
    columns = [f"{float(c):.0%}" if c[0].isdigit() else c for c in COLUMNS]
    for kind in KIND_OR_MEAN:
        rows = [
            [labels[method], *(_cell(spreads[kind][LIMIT][c]) for c in COLUMNS)]
            for method, spreads in statistics["auspro"].items()
        ]
        parts.append(markdown_table([short(kind), *columns], rows, 1, aligned=True))
    if varies and statistics["pairs"]:
        parts.append(_agreement(statistics["ranking"]))
        parts += _changes(statistics["pairs"], labels)
    return parts


def _agreement(ranking: Mapping[str, Any]) -> str:
    rows = [
        [
            *(short(kind), limit, f"{agreement['unchanged']:.2%}"),
            *(_cell(agreement[f"kendall_tau_{name}"]) for name in ("mean", "min")),
        ]
        for kind in KIND_OR_MEAN
        for limit in LIMITS
        if (agreement := ranking[kind][limit])
    ]
    heads = ["ranking", "limit", "unchanged", "Kendall's tau, mean", "lowest"]
    return markdown_table(heads, rows, 1, aligned=True)


def _changes(
    pairs: Sequence[Mapping[str, Any]], labels: Mapping[str, str]
) -> list[str]:
    """The pairs that most draws order otherwise, at the paper's limit."""
    shares = {
        tuple(pair["methods"]): [pair["changed"][kind][LIMIT] for kind in KIND_OR_MEAN]
        for pair in pairs
    }
    changing = [pair for pair, by_kind in shares.items() if any(by_kind)]
    if not changing:
        return [f"At limit {LIMIT} every draw orders every pair as the original does."]
    changing.sort(key=lambda pair: -max(share or 0 for share in shares[pair]))
    rows = [
        [
            " / ".join(labels[method] for method in pair),
            *(NONE if share is None else f"{share:.2%}" for share in shares[pair]),
        ]
        for pair in changing[:MOST_PAIRS]
    ]
    heads = ["draws that change the order", *map(short, KIND_OR_MEAN)]
    parts = [
        f"At limit {LIMIT}, the share of draws that order a pair otherwise:",
        markdown_table(heads, rows, 1, aligned=True),
    ]
    others = []
    if less := len(changing) - len(rows):
        others.append(f"{pluralize(less, 'pair changes', 'pairs change')} less")
    if stable := len(pairs) - len(changing):
        keep = pluralize(stable, "pair keeps its", "pairs keep their")
        others.append(f"{keep} order in every draw")
    return [*parts, "; ".join(others) + "."] if others else parts


def _cell(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def render_figure(methods: Sequence[str], auspro: Mapping[str, np.ndarray]) -> "Figure":
    """One row of panels a category, one column a kind, one line a method.

    methods: their labels. auspro: by category, as in `ThresholdStudy`.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    height = (0.8 + 0.3 * len(methods)) * len(auspro) + 0.5
    with style.style_context():
        figure = style.new_figure(style.PAGE, height, constrained=True)
        panels = figure.subplots(len(auspro), len(KIND_OR_MEAN), squeeze=False)
        for (name, values), axes in zip(auspro.items(), panels, strict=True):
            at_limit = with_mean(values)[:, :, LIMITS.index(LIMIT)]
            for k, (axis, kind) in enumerate(zip(axes, KIND_OR_MEAN, strict=True)):
                _render_panel(axis, at_limit[:, k])
                constant = np.ptp(at_limit[:, k], axis=1).max() == 0
                # Above the kind, where a long name may reach over the next panels.
                title = f"{style.escape_dollars(name) if k == 0 else ''}\n{short(kind)}"
                title += " (nothing varies)" if constant else ""
                axis.set_title(title, loc="left")
                names = [
                    style.escape_dollars(method) if k == 0 else "" for method in methods
                ]
                axis.set_yticks(np.arange(len(methods)) - _HEIGHT / 2, names)
        for axis in panels[-1]:
            axis.set_xlabel(f"AU-sPRO up to {LIMIT}")
        handles = [
            Patch(color=_FILL, label="draws"),
            Line2D([], [], color=_EDGE, linewidth=2, label="their middle 90 %"),
            Line2D([], [], color=_ORIGINAL, linewidth=1.5, label="original thresholds"),
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=3, frameon=False
        )
    return figure


def _render_panel(axis: "Axes", values: np.ndarray) -> None:  # (methods, 1 + draws)
    """Methods from top to bottom: the density of the draws, its middle 90 %."""
    axis.set_ylim(len(values) - 0.75, -1.05)
    style.tidy_axis(axis, "x")
    axis.tick_params(axis="y", length=0)
    if np.isnan(values).any():
        axis.set_xticks([])
        center: Any = {"transform": axis.transAxes, "ha": "center", "va": "center"}
        axis.text(0.5, 0.5, "no such images", color="0.4", **center)
        return
    low, high = values.min(), values.max()
    margin = max(0.05 * (high - low), 1e-3)
    axis.set_xlim(low - margin, high + margin)
    axis.locator_params(axis="x", nbins=4)
    for row, (original, *draws) in enumerate(values):
        axis.axhline(row, color="0.9", linewidth=0.6, zorder=0)
        if np.ptp(draws) >= 1e-9:  # of equal draws there is no histogram
            counts, edges = np.histogram(draws, _BINS)
            tops = row - _HEIGHT * counts / counts.max()
            axis.stairs(tops, edges, baseline=row, fill=True, color=_FILL, linewidth=0)
        low, high = np.quantile(draws, (0.05, 0.95))
        axis.plot((low, high), (row, row), color=_EDGE, linewidth=2)
        top = row - _HEIGHT
        axis.plot((original, original), (row, top), color=_ORIGINAL, linewidth=1.5)
