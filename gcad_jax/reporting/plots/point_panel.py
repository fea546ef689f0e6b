"""A panel of points: each seed one, and a line at their mean; a group a run."""

from typing import TYPE_CHECKING

import numpy as np

from gcad_jax.reporting.plots import style
from gcad_jax.reporting.plots.bar_panel import WIDTH, label_groups, mark_paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gcad_jax.reporting.plots.panel import Panel


def render_points(axis: "Axes", panel: "Panel") -> None:
    """The seeds of each run and kind, side by side in their order."""
    for place, label, k, known in panel.groups():
        x = place + (k - 1) * WIDTH
        reach = 0.32 * WIDTH if len(known) > 1 else 0.0
        axis.plot(
            x + np.linspace(-reach, reach, len(known)),
            known,
            style.KIND_MARKERS[k],
            color=style.KIND_COLORS[k],
            mec="white",
            mew=0.3,
            ms=3.3,
        )
        ends = (x - 0.42 * WIDTH, x + 0.42 * WIDTH)
        axis.plot(ends, [np.mean(known)] * 2, color="black", lw=1.5)
        if label in panel.paper:
            mark_paper(axis, x, panel.paper[label][k])
    label_groups(axis, list(panel.values))
