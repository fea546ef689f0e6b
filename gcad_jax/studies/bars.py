"""The figure of a study of runs: bars for both kinds and their mean, a dot a seed."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from gcad_jax.evaluation import tables
from gcad_jax.evaluation.scores import KIND_OR_MEAN, Number
from gcad_jax.evaluation.tables import HEADS, LIMIT, Pick, auroc, auspro
from gcad_jax.studies.finished import Finished

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito: told apart without colour vision; the hatches tell them apart in grey.
_COLOURS = ("#E69F00", "#0072B2", "#BBBBBB")
_HATCHES = ("", "////", "")
_FONT: Any = {"font.size": 8, "axes.titlesize": 9, "axes.titlelocation": "left"}
_WIDTH, _HEIGHT, _DPI = 7.5, 2.6, 150  # inches; of a row of panels
_BAR = 0.27  # groups are 1 apart
_NO_DATE: Any = {"png": {"Software": ""}, "pdf": {"CreationDate": None}}


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel.

    title, measure: above it, and at its axis.
    values: by label of the group, then for structural, logical and mean one number for
        each seed; None where there is none.
    paper: the paper's three numbers by label, drawn as lines where they compare.
    """

    title: str
    measure: str
    values: Mapping[str, Sequence[Sequence[Number]]]
    paper: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)


def of_measures(dataset: str, runs: Mapping[str, Finished]) -> list[Panel]:
    """AU-sPRO and image AU-ROC of every run."""
    by_title = {run.title: run for run in runs.values()}
    found = {title: (run, _published(run)) for title, run in by_title.items()}
    spro = {t: paper.auspro for t, (_, paper) in found.items() if paper}
    roc = {t: paper.auroc for t, (_, paper) in found.items() if paper}
    return [
        panel(dataset, f"AU-sPRO up to {LIMIT}", by_title, auspro, spro),
        panel(dataset, "image AU-ROC", by_title, auroc, roc),
    ]


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


def draw(paths: Mapping[str, epath.Path], panels: Sequence[Panel]) -> None:
    """Draws the panels, two a row. paths: by format, "png" and "pdf"."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(panels) / 2)
    with rc_context(_FONT):
        size = (_WIDTH, _HEIGHT * rows + 0.3)
        figure = Figure(size, min(_DPI, 60_000 / size[1]), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        for axis, one in zip(axes, panels, strict=False):
            _panel(axis, one)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        handles, labels = _legend(any(one.paper for one in panels))
        figure.legend(
            handles, labels, loc="outside lower center", ncols=5, frameon=False
        )
        for form, path in paths.items():
            figure.savefig(path, format=form, metadata=_NO_DATE[form])


def _panel(axis: "Axes", one: Panel) -> None:
    for place, (label, of_kinds) in enumerate(one.values.items()):
        for k, seeds in enumerate(of_kinds):
            known = [x for x in seeds if x is not None]
            if not known:
                continue
            x = place + (k - 1) * _BAR
            axis.bar(
                *(x, np.mean(known), _BAR),
                color=_COLOURS[k],
                hatch=_HATCHES[k],
                edgecolor="white",
                linewidth=0.5,
            )
            if len(known) > 1:
                across = x + np.linspace(-0.25, 0.25, len(known)) * _BAR
                axis.plot(across, known, "o", color="black", mec="white", ms=3, mew=0.5)
            if label in one.paper:
                ends = (x - _BAR / 2, x + _BAR / 2)
                axis.plot(ends, [one.paper[label][k]] * 2, color="black", lw=1)
    labels = list(one.values)
    longest = max(map(len, labels), default=0)
    slanted = longest * len(labels) > 45
    axis.set_xticks(
        range(len(labels)),
        labels,
        rotation=35 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
    )
    ends = (-2 * _BAR, len(labels) - 1 + 2 * _BAR)
    axis.set(ylabel=one.measure, ylim=(0, 1), xlim=ends, title=one.title)
    axis.tick_params(axis="x", length=0)
    axis.grid(axis="y", color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(paper: bool) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white")
        for colour, hatch in zip(_COLOURS, _HATCHES, strict=True)
    ]
    handles.append(Line2D([], [], color="black", marker="o", mec="white", ms=4, lw=0))
    labels = [*HEADS, "one seed"]
    if paper:
        handles.append(Line2D([], [], color="black", lw=1))
        labels.append("paper")
    return handles, labels
