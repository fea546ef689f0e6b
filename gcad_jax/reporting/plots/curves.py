"""Diagrams of a run: sPRO curves, losses."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gcad_jax.reporting.plots import style
from gcad_jax.reporting.plots.style import COLUMN, PAGE, symbol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EVERY = 0.15  # of the size of a panel lies between the markers of a line
_POINTS = 300  # of a line: dots of a printer in a column


def render_spro_curves(
    rates: np.ndarray,  # (K,) false positive rates, ascending
    lines: Mapping[str, Mapping[str, np.ndarray]],  # panel -> line -> (K,) sPRO
    limit: float = 0.05,
    shown: float = 0.3,
) -> "Figure":
    """The sPRO over the false positive rate, one panel a kind, up to the rate `shown`.

    limit: marked; AU-sPRO is the mean height of a curve to its left.
    """
    from matplotlib.lines import Line2D

    width = PAGE if len(lines) > 1 else COLUMN
    with style.style_context():
        names = list(dict.fromkeys(name for panel in lines.values() for name in panel))
        figure = style.new_figure(
            width, 2.7 if len(names) < 5 else 2.9, constrained=True
        )
        axes = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
        for (panel, branches), axis in zip(lines.items(), axes, strict=True):
            axis.axvspan(0, limit, color="0.92", linewidth=0)
            axis.axvline(limit, color="0.4", linewidth=0.8)
            axis.annotate(  # above the panel, where there are no curves
                f"limit {limit:g}",
                (limit, 1),
                (0, 2),
                xycoords=axis.get_xaxis_transform(),
                textcoords="offset points",
                color="0.3",
                fontsize=7,
                ha="center",
            )
            for name, values in branches.items():
                look = style.line_style(names.index(name))
                axis.plot(rates, values, markevery=_EVERY, **look)
            axis.set(xlim=(0, shown), ylim=(0, 1.02), title=panel)
            axis.set_xlabel("false positive rate")
            style.tidy_axis(axis)
        axes[0].set_ylabel("sPRO")
        figure.legend(
            [Line2D([], [], **style.line_style(k)) for k in range(len(names))],
            [symbol(name) for name in names],
            loc="outside lower center",
            ncols=min(len(names), 4),
            frameon=False,
            handlelength=2.6,
        )
    return figure


def render_loss_curves(
    rows: Sequence[Mapping[str, Any]],
    losses: Sequence[str] = ("L_kd", "L_glo", "L_loc"),
) -> "Figure":
    """Losses over the steps on a logarithmic scale, from the rows of metrics.jsonl.

    rows: {"step", loss names...}, and "seed" where there are several: then a line is
        the mean and its band the range over the seeds.
    losses: the columns to draw; one without a positive number is left out.
    """
    with style.style_context():
        figure = style.new_figure(COLUMN, 2.4, constrained=True)
        axis = figure.subplots()
        for k, name in enumerate(losses):
            steps, low, mean, high = _by_step(rows, name)
            if not steps.size:
                continue
            look = style.line_style(k) | ({"marker": "o"} if steps.size == 1 else {})
            axis.plot(steps, mean, label=symbol(name), markevery=_EVERY, **look)
            band = {"color": look["color"], "alpha": 0.2, "linewidth": 0}
            axis.fill_between(steps, low, high, **band)
        if axis.lines:
            axis.set_yscale("log")
            axis.legend(frameon=False, handlelength=2.6)
        axis.set_xlabel("step")
        axis.set_ylabel("loss")
        style.tidy_axis(axis)
    return figure


def _by_step(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:  # (4, K)
    """Steps, and minimum, mean, maximum over the seeds of the positive values.

    Of a long training means over equal parts, as many as can be told apart in print.
    """
    of_step: dict[int, list[float]] = {}
    for row in rows:
        if (value := row.get(name)) is not None and value > 0:
            of_step.setdefault(row["step"], []).append(value)
    rows_of_steps = [
        (step, min(x), sum(x) / len(x), max(x)) for step, x in sorted(of_step.items())
    ]
    columns = np.array(rows_of_steps).reshape(-1, 4).T
    if len(rows_of_steps) <= _POINTS:
        return columns
    return np.array(
        [[part.mean() for part in np.array_split(x, _POINTS)] for x in columns]
    )
