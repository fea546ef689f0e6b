"""The figure of a study of runs: panels of both kinds and their mean, with seeds."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gcad_jax.reporting.plots import style
from gcad_jax.reporting.plots.panel import BARS, POINTS, VALUES, Panel
from gcad_jax.reporting.tables import HEADS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEIGHT = 2.4  # inches of a row of panels


def render_panels(panels: Sequence[Panel]) -> "Figure":
    """The panels, two a row."""
    from gcad_jax.reporting.plots import bar_panel, line_panel, point_panel

    renderers = {
        BARS: bar_panel.render_bars,
        POINTS: point_panel.render_points,
        VALUES: line_panel.render_lines,
    }
    rows = math.ceil(len(panels) / 2)
    with style.style_context():
        figure = style.new_figure(style.PAGE, _HEIGHT * rows + 0.35, constrained=True)
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        for axis, panel in zip(axes, panels, strict=False):
            renderers[panel.form](axis, panel)
            comparable = [
                p for p in panels if (p.measure, p.form) == (panel.measure, panel.form)
            ]
            axis.set(ylim=(0, 1) if panel.form == BARS else _limits(comparable))
            axis.set(ylabel=panel.measure)
            axis.set_title(style.symbols(panel.title), loc="left")
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
    known = [x for panel in panels for x in panel.known] or [0.0, 1.0]
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

    forms = {panel.form for panel in panels}
    several = {panel.form for panel in panels if panel.several}
    handles: list[Any] = []
    for k in range(len(HEADS)):
        symbols: list[Any] = []
        color, marker = style.KIND_COLORS[k], style.KIND_MARKERS[k]
        if BARS in forms:
            fill, hatch = style.KIND_FILLS[k], style.KIND_HATCHES[k]
            symbols.append(Patch(facecolor=fill, hatch=hatch, edgecolor="white"))
        if VALUES in forms:
            dashes = style.KIND_DASHES[k]
            symbols.append(
                Line2D([], [], color=color, marker=marker, ms=4, lw=1.2, ls=dashes)
            )
        if POINTS in forms:
            symbols.append(Line2D([], [], color=color, marker=marker, ms=4, lw=0))
        handles.append(tuple(symbols))
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
    if any(panel.paper for panel in panels):
        handles.append(Line2D([], [], color="black", lw=1, ls=style.PAPER_DASHES))
        labels.append("paper")
    return handles, labels
