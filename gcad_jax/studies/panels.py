"""The figure of a study of runs: panels of both kinds and their mean, with seeds."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gcad_jax import style
from gcad_jax.evaluation import tables
from gcad_jax.evaluation.scores import KIND_OR_MEAN, Number
from gcad_jax.evaluation.tables import HEADS, LIMIT, Pick, auroc, auspro
from gcad_jax.studies.finished import Finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BARS, POINTS, VALUES = "bars", "points", "values"
_HEIGHT = 2.4  # inches of a row of panels


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

    @property
    def known(self) -> list[float]:
        """Every number of it."""
        groups = self.values.values()
        return [
            x for kinds in groups for seeds in kinds for x in seeds if x is not None
        ]

    @property
    def several(self) -> bool:
        """Whether anything has more than one seed."""
        return any(len(seeds) > 1 for kinds in self.values.values() for seeds in kinds)


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


def draw(panels: Sequence[Panel]) -> "Figure":
    """The panels, two a row."""
    from gcad_jax.studies import bars, points, values

    drawing = {BARS: bars.draw, POINTS: points.draw, VALUES: values.draw}
    rows = math.ceil(len(panels) / 2)
    with style.styled():
        figure = style.new(style.PAGE, _HEIGHT * rows + 0.35, constrained=True)
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        for axis, one in zip(axes, panels, strict=False):
            drawing[one.form](axis, one)
            alike = [
                p for p in panels if (p.measure, p.form) == (one.measure, one.form)
            ]
            axis.set(ylim=(0, 1) if one.form == BARS else _limits(alike))
            axis.set(ylabel=one.measure)
            axis.set_title(style.symbols(one.title), loc="left")
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        handles, labels = _legend(panels)
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=5,
            frameon=False,
            handler_map=_several_in_one(),
        )
    return figure


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """Of the axis of panels that are compared: tenths, so that ticks are round."""
    known = [x for one in panels for x in one.known] or [0.0, 1.0]
    low = math.floor(10 * min(known) - 0.2) / 10
    high = math.ceil(10 * max(known) + 0.2) / 10
    return max(0.0, low), min(1.02, high)


def _several_in_one() -> dict[type, Any]:
    from matplotlib.legend_handler import HandlerTuple

    return {tuple: HandlerTuple(ndivide=None)}


def _legend(panels: Sequence[Panel]) -> tuple[list[Any], list[str]]:
    """Of a figure: what its forms are drawn with, and seeds and paper where shown."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    forms = {one.form for one in panels}
    several = {one.form for one in panels if one.several}
    handles: list[Any] = []
    for k in range(len(HEADS)):
        own: list[Any] = []
        colour, marker = style.KIND_COLOURS[k], style.KIND_MARKERS[k]
        if BARS in forms:
            fill, hatch = style.KIND_FILLS[k], style.KIND_HATCHES[k]
            own.append(Patch(facecolor=fill, hatch=hatch, edgecolor="white"))
        if VALUES in forms:
            dashes = style.KIND_DASHES[k]
            own.append(
                Line2D([], [], color=colour, marker=marker, ms=4, lw=1.2, ls=dashes)
            )
        if POINTS in forms:
            own.append(Line2D([], [], color=colour, marker=marker, ms=4, lw=0))
        handles.append(tuple(own))
    labels = list(HEADS)
    if BARS in several:
        handles.append(
            Line2D([], [], color="black", marker="o", mec="white", ms=4, lw=0)
        )
        labels.append("one seed")
    if POINTS in forms:
        handles.append(Line2D([], [], color="black", lw=1.5))
        labels.append("mean over the seeds")
    if VALUES in several:
        handles.append(Line2D([], [], color="0.4", marker="|", ms=8, lw=0, mew=1))
        labels.append("± deviation over the seeds")
    if any(one.paper for one in panels):
        handles.append(Line2D([], [], color="black", lw=1, ls=style.PAPER_DASHES))
        labels.append("paper")
    return handles, labels
