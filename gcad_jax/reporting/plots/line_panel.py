"""A panel over the values of a setting: means joined by lines, bars of deviation."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gcad_jax.reporting.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gcad_jax.reporting.plots.panel import Panel

_APART = 0.13  # of the width of the numbers, between labels that are none
_BESIDE = 0.012  # of it, between the kinds, so that their bars do not hide each other


def parse_numbers(labels: Sequence[str]) -> dict[str, int]:
    """The labels that are positive whole numbers."""
    return {label: int(label) for label in labels if label.isdecimal() and int(label)}


def is_axis(labels: Sequence[str]) -> bool:
    """Whether there are enough numbers among them for an axis."""
    return len(set(parse_numbers(labels).values())) > 1


def render_lines(axis: "Axes", panel: "Panel") -> None:
    """A line a kind through the numbers, on a logarithmic axis; the others behind.

    Needs labels for which `is_axis` holds.
    """
    labels = list(panel.values)
    whole = parse_numbers(labels)
    at = {label: math.log2(number) for label, number in whole.items()}
    span = max(at.values()) - min(at.values())
    for k, label in enumerate(filter(lambda label: label not in at, labels), 1):
        at[label] = max(math.log2(n) for n in whole.values()) + 1.5 * k * _APART * span
    for k, color in enumerate(style.KIND_COLORS):
        for joined in (True, False):
            group = [label for label in labels if (label in whole) == joined]
            group.sort(key=lambda label: at[label])
            known = {
                label: [x for x in panel.values[label][k] if x is not None]
                for label in group
            }
            there = [label for label in group if known[label]]
            if not there:
                continue
            deviations = [np.std(known[x], ddof=1) for x in there if len(known[x]) > 1]
            axis.errorbar(
                [at[label] + (k - 1) * _BESIDE * span for label in there],
                [np.mean(known[label]) for label in there],
                deviations if len(deviations) == len(there) else None,
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
    if len(whole) < len(labels):
        between = (
            max(at[label] for label in whole)
            + min(at[label] for label in labels if label not in whole)
        ) / 2
        axis.axvline(between, color="0.7", linewidth=0.6, linestyle=":")
    style.tidy_axis(axis)
