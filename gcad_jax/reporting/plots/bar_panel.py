"""A panel of bars from 0 to 1: a group a run, a dot a seed."""

from typing import TYPE_CHECKING

import numpy as np

from gcad_jax.reporting.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gcad_jax.reporting.plots.panel import Panel

WIDTH = 0.27  # groups are 1 apart
_DENSE = 45  # letters below a panel, from which on they are slanted


def render_bars(axis: "Axes", panel: "Panel") -> None:
    """The bars of a panel, the dots of the seeds where there are several."""
    for place, label, k, known in panel.groups():
        x = place + (k - 1) * WIDTH
        axis.bar(
            *(x, np.mean(known), WIDTH),
            color=style.KIND_FILLS[k],
            hatch=style.KIND_HATCHES[k],
            edgecolor="white",
            linewidth=0.5,
        )
        if len(known) > 1:
            across = x + np.linspace(-0.25, 0.25, len(known)) * WIDTH
            axis.plot(across, known, "o", color="black", mec="white", ms=2.6, mew=0.4)
        if label in panel.paper:
            mark_paper(axis, x, panel.paper[label][k])
    label_groups(axis, list(panel.values))


def mark_paper(axis: "Axes", x: float, value: float) -> None:
    """The paper's number across the place of a bar."""
    ends = (x - WIDTH / 2, x + WIDTH / 2)
    axis.plot(ends, [value] * 2, color="black", lw=1, ls=style.PAPER_DASHES)


def label_groups(axis: "Axes", labels: list[str]) -> None:
    """An axis with a place for each label."""
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
