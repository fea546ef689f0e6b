"""The figure of the study: how AU-sPRO spreads over the draws, method by method."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gcad_jax.evaluation.results import KIND_OR_MEAN, LIMITS
from gcad_jax.reporting.plots import style
from gcad_jax.reporting.plots.style import plain
from gcad_jax.reporting.tables import LIMIT, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by lightness, too.
_FILL, _EDGE, _ORIGINAL = style.COLORS[5], style.COLORS[0], style.COLORS[1]
_BINS = 60
_HEIGHT = 0.8  # of a distribution; rows are 1 apart


def draw(methods: Sequence[str], values: Mapping[str, np.ndarray]) -> "Figure":
    """One row of panels a category, one column a kind, one line a method.

    methods: their labels.
    values: by category (methods, kinds, limits, 1 + draws), the original first.
    """
    height = (0.8 + 0.3 * len(methods)) * len(values) + 0.5
    with style.styled():
        figure = style.new(style.PAGE, height, constrained=True)
        grid = figure.subplots(len(values), len(KIND_OR_MEAN), squeeze=False)
        for (name, of_category), axes in zip(values.items(), grid, strict=True):
            for k, axis in enumerate(axes):
                of_kind = _of_kind(of_category, k)
                _panel(axis, of_kind)
                # Above the kind, where a long name may reach over the next panels.
                above = plain(name) if k == 0 else ""
                title = f"{above}\n{short(KIND_OR_MEAN[k])}{_constant(of_kind)}"
                axis.set_title(title, loc="left")
                names = [plain(label) if k == 0 else "" for label in methods]
                axis.set_yticks(np.arange(len(methods)) - _HEIGHT / 2, names)
        for axis in grid[-1]:
            axis.set_xlabel(f"AU-sPRO up to {LIMIT}")
        figure.legend(*_legend(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _legend() -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    middle = Line2D([], [], color=_EDGE, linewidth=2)
    original = Line2D([], [], color=_ORIGINAL, linewidth=1.5)
    names = ["draws", "their middle 90 %", "original thresholds"]
    return [Patch(color=_FILL), middle, original], names


def _of_kind(values: np.ndarray, kind: int) -> np.ndarray:  # (methods, 1 + draws)
    at_limit = values[:, :, LIMITS.index(LIMIT)]
    return at_limit[:, kind] if kind < 2 else at_limit.mean(axis=1)


def _constant(values: np.ndarray) -> str:
    return " (nothing varies)" if np.ptp(values, axis=1).max() == 0 else ""


def _panel(axis: "Axes", values: np.ndarray) -> None:
    """Methods from top to bottom: the density of the draws, its middle 90 %."""
    axis.set_ylim(len(values) - 0.75, -1.05)
    style.tidy(axis, "x")
    axis.tick_params(axis="y", length=0)
    if np.isnan(values).any():
        axis.set_xticks([])
        axis.text(
            *(0.5, 0.5, "no such images"),
            transform=axis.transAxes,
            ha="center",
            va="center",
            color="0.4",
        )
        return
    low, high = values.min(), values.max()
    margin = max(0.05 * (high - low), 1e-3)
    axis.set_xlim(low - margin, high + margin)
    axis.locator_params(axis="x", nbins=4)
    for row, (original, *draws) in enumerate(values):
        axis.axhline(row, color="0.9", linewidth=0.6, zorder=0)
        _density(axis, np.array(draws), row)
        low, high = np.quantile(draws, (0.05, 0.95))
        axis.plot((low, high), (row, row), color=_EDGE, linewidth=2)
        top = row - _HEIGHT
        axis.plot((original, original), (row, top), color=_ORIGINAL, linewidth=1.5)


def _density(axis: "Axes", draws: np.ndarray, row: int) -> None:
    """A histogram above the line of its row; nothing where all draws are equal."""
    if np.ptp(draws) < 1e-9:
        return
    counts, edges = np.histogram(draws, _BINS)
    axis.stairs(
        row - _HEIGHT * counts / counts.max(),
        edges,
        baseline=row,
        fill=True,
        color=_FILL,
        linewidth=0,
    )
