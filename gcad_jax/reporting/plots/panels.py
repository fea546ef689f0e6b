"""The figure of a study of runs: panels of both kinds and their mean, with seeds."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gcad_jax.evaluation.results import Number
from gcad_jax.reporting.plots import style
from gcad_jax.reporting.tables import HEADS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS, POINTS, VALUES = "bars", "points", "values"
WIDTH = 0.27  # of a bar; groups are 1 apart
_DENSE = 45  # letters below a panel, from which on they are slanted
_HEIGHT = 2.4  # inches of a row of panels
_APART = 0.13  # of the width of the numbers, between labels that are none
_BESIDE = 0.012  # of it, between the kinds, so that their bars do not hide each other


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel.

    title, measure: above it, and at its axis.
    values: by label of the group, then for structural, logical and mean one number for
        each seed; None where there is none.
    paper: the paper's three numbers by label, drawn as lines where they compare.
    form: BARS from 0 to 1, a dot a seed; POINTS, one a seed, close up; VALUES, over an
        axis of the numbers that the labels are, the other labels behind them.
    """

    title: str
    measure: str
    values: Mapping[str, Sequence[Sequence[Number]]]
    paper: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    form: str = BARS

    def groups(self) -> Iterator[tuple[int, str, int, list[float]]]:
        """Place and label of a group, number of a kind, and its numbers, if any."""
        for place, (label, kinds) in enumerate(self.values.items()):
            for k, seeds in enumerate(kinds):
                if known := [x for x in seeds if x is not None]:
                    yield place, label, k, known

    @property
    def several(self) -> bool:
        """Whether anything has more than one seed."""
        return any(len(seeds) > 1 for kinds in self.values.values() for seeds in kinds)


def render_panels(panels: Sequence[Panel]) -> "Figure":
    """The panels, two a row."""
    from matplotlib.legend_handler import HandlerTuple

    rows = math.ceil(len(panels) / 2)
    with style.style_context():
        figure = style.new_figure(style.PAGE, _HEIGHT * rows + 0.35, constrained=True)
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        for axis, panel in zip(axes, panels, strict=False):
            (_render_lines if panel.form == VALUES else _render_groups)(axis, panel)
            axis.set_ylabel(panel.measure)
            axis.set_title(style.symbols(panel.title), loc="left")
            comparable = [
                p for p in panels if (p.measure, p.form) == (panel.measure, panel.form)
            ]
            axis.set(ylim=(0, 1) if panel.form == BARS else _limits(comparable))
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        handles, labels = _legend(panels)
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=5,
            frameon=False,
            handler_map={tuple: HandlerTuple(ndivide=None)},  # all forms of a kind
        )
    return figure


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """Of the axis of panels that are compared: tenths, so that ticks are round."""
    known = [x for panel in panels for *_, seeds in panel.groups() for x in seeds]
    known = known or [0.0, 1.0]
    low = math.floor(10 * min(known) - 0.2) / 10
    high = math.ceil(10 * max(known) + 0.2) / 10
    return max(0.0, low), min(1.02, high)


def _legend(panels: Sequence[Panel]) -> tuple[list[Any], list[str]]:
    """Of a figure: what its forms are drawn with, and seeds and paper where shown."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    forms = {panel.form for panel in panels}
    several = {panel.form for panel in panels if panel.several}
    kinds = []
    for k, color in enumerate(style.KIND_COLORS):
        marker = style.KIND_MARKERS[k]
        fill, hatch = style.KIND_FILLS[k], style.KIND_HATCHES[k]
        line: dict[str, Any] = {"color": color, "marker": marker, "ms": 4}
        symbols: dict[str, Any] = {
            BARS: Patch(facecolor=fill, hatch=hatch, edgecolor="white"),
            VALUES: Line2D([], [], **line, lw=1.2, ls=style.KIND_DASHES[k]),
            POINTS: Line2D([], [], **line, lw=0),
        }
        kinds.append(tuple(symbols[form] for form in symbols if form in forms))
    shown: dict[str, dict[str, Any]] = {}
    if BARS in several:
        dot = {"color": "black", "marker": "o", "mec": "white", "ms": 4, "lw": 0}
        shown["one seed"] = dot
    if POINTS in forms:
        shown["mean over the seeds"] = {"color": "black", "lw": 1.5}
    if VALUES in several:
        bar = {"color": "0.4", "marker": "|", "ms": 8, "lw": 0, "mew": 1}
        shown["± deviation over the seeds"] = bar
    if any(panel.paper for panel in panels):
        shown["paper"] = {"color": "black", "lw": 1, "ls": style.PAPER_DASHES}
    handles = [Line2D([], [], **look) for look in shown.values()]
    return [*kinds, *handles], [*HEADS, *shown]


def _render_groups(axis: "Axes", panel: Panel) -> None:
    """A group a run: a bar a kind and a dot a seed, or a point a seed and their mean.

    The seeds are side by side in their order, the paper's number lies across them.
    """
    for place, label, k, known in panel.groups():
        x = place + (k - 1) * WIDTH
        if panel.form == BARS:
            axis.bar(
                *(x, np.mean(known), WIDTH),
                color=style.KIND_FILLS[k],
                hatch=style.KIND_HATCHES[k],
                edgecolor="white",
                linewidth=0.5,
            )
            if len(known) > 1:
                across = x + np.linspace(-0.25, 0.25, len(known)) * WIDTH
                dots: Any = {"color": "black", "mec": "white", "ms": 2.6, "mew": 0.4}
                axis.plot(across, known, "o", **dots)
        else:
            reach = 0.32 * WIDTH if len(known) > 1 else 0.0
            across = x + np.linspace(-reach, reach, len(known))
            dots = {"color": style.KIND_COLORS[k], "mec": "white", "mew": 0.3}
            axis.plot(across, known, style.KIND_MARKERS[k], ms=3.3, **dots)
            ends = (x - 0.42 * WIDTH, x + 0.42 * WIDTH)
            axis.plot(ends, [np.mean(known)] * 2, color="black", lw=1.5)
        if label in panel.paper:
            ends, value = (x - WIDTH / 2, x + WIDTH / 2), panel.paper[label][k]
            axis.plot(ends, [value] * 2, color="black", lw=1, ls=style.PAPER_DASHES)
    labels = list(panel.values)
    slanted = max(map(len, labels), default=0) * len(labels) > _DENSE
    axis.set_xticks(
        range(len(labels)),
        [style.symbol(label) for label in labels],
        rotation=35 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
    )
    axis.set_xlim(-2 * WIDTH, len(labels) - 1 + 2 * WIDTH)
    axis.tick_params(axis="x", length=0)
    style.tidy_axis(axis, "y")


def is_axis(labels: Sequence[str]) -> bool:
    """Whether there are enough numbers among them for an axis."""
    return len(set(_parse_numbers(labels).values())) > 1


def _parse_numbers(labels: Sequence[str]) -> dict[str, int]:
    """The labels that are positive whole numbers."""
    return {label: int(label) for label in labels if label.isdecimal() and int(label)}


def _render_lines(axis: "Axes", panel: Panel) -> None:
    """A line a kind through the numbers, on a logarithmic axis; the others behind.

    Means over the seeds, with bars of their deviation. Needs labels for which `is_axis`
    holds.
    """
    labels = list(panel.values)
    at = {label: math.log2(n) for label, n in _parse_numbers(labels).items()}
    others = [label for label in labels if label not in at]
    last, span = max(at.values()), max(at.values()) - min(at.values())
    for k, label in enumerate(others, 1):
        at[label] = last + 1.5 * k * _APART * span
    numbers = {(label, k): known for _, label, k, known in panel.groups()}
    for k, color in enumerate(style.KIND_COLORS):
        for joined in (True, False):
            group = [x for x in labels if (x, k) in numbers and (x in others) != joined]
            group.sort(key=lambda label: at[label])
            if not group:
                continue
            seeds = [numbers[label, k] for label in group]
            deviations = [np.std(known, ddof=1) for known in seeds if len(known) > 1]
            axis.errorbar(
                [at[label] + (k - 1) * _BESIDE * span for label in group],
                [np.mean(known) for known in seeds],
                deviations if len(deviations) == len(group) else None,
                color=color,
                marker=style.KIND_MARKERS[k],
                linestyle=style.KIND_DASHES[k] if joined else "none",
                linewidth=1.2,
                markersize=4,
                elinewidth=1,
                capsize=2,
            )
    shown = [label.replace(" + ", "\n+ ") for label in labels]
    axis.set_xticks([at[label] for label in labels], shown)
    if others:
        between = (last + at[others[0]]) / 2
        axis.axvline(between, color="0.7", linewidth=0.6, linestyle=":")
    style.tidy_axis(axis)
