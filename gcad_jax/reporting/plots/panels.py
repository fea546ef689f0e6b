"""The figure of a study of runs: panels of both kinds and their mean, with seeds."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gcad_jax.reporting.plots import style
from gcad_jax.reporting.plots.panel import BARS, POINTS, VALUES, Panel, render_panel
from gcad_jax.reporting.tables import HEADS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEIGHT = 2.4  # inches of a row of panels


def render_panels(panels: Sequence[Panel]) -> "Figure":
    """The panels, two a row."""
    from matplotlib.legend_handler import HandlerTuple

    rows = math.ceil(len(panels) / 2)
    with style.style_context():
        figure = style.new_figure(style.PAGE, _HEIGHT * rows + 0.35, constrained=True)
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        for axis, panel in zip(axes, panels, strict=False):
            render_panel(axis, panel)
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
    known = [x for panel in panels for x in panel.known] or [0.0, 1.0]
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
