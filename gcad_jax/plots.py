"""Figures: anomaly maps beside their images, sPRO curves, losses.

Figures are drawn without a display and without the state of pyplot. Colours and line
styles both differ, and the colour map ascends in lightness, so that prints in grey and
colour-blind readers see the same.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gcad_jax.files import Path, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SYMBOLS = {
    "A": r"$A$",
    "A_loc": r"$A_{\mathrm{loc}}$",
    "A_glo": r"$A_{\mathrm{glo}}$",
    "L_kd": r"$L_{\mathrm{kd}}$",
    "L_glo": r"$L_{\mathrm{glo}}$",
    "L_loc": r"$L_{\mathrm{loc}}$",
}
# Okabe and Ito's colours, told apart by all common colour vision deficiencies.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
_MASK = (0.0, 0.9, 1.0)  # rare in photos, bright on dark
_SCORES = "inferno"
_GAMMA = 0.4  # scores of logical and structural anomalies differ by a power of ten
_DPI = 150
_FONT: Any = {"font.size": 8, "axes.titlesize": 9, "mathtext.fontset": "dejavusans"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One test image of `qualitative`.

    title: its kind or defect type, and its name if wanted.
    image: (H, W, C) uint8, C 1 or 3.
    mask: (H, W) bool, the union of its regions; None without ground truth.
    maps: (h, w) scores by branch, same branches in every row; drawn at the size of the
        image.
    """

    title: str
    image: np.ndarray
    mask: np.ndarray | None
    maps: Mapping[str, np.ndarray]


def qualitative(
    path: Path, rows: Sequence[Row], width: float = 7.0, height: float = 9.0
) -> None:
    """Rows of input, ground truth, every map; one colour scale a column.

    path: the PNG. width, height: the figure fits into these inches.

    A scale goes from the median to the 99.9 % quantile of the scores shown in its
    column (brighter scores are drawn as that), so that the maps of a column compare
    and the noise of normal pixels stays dark. Colours rise with a power of 0.4 of the
    score, so that a weak anomaly shows beside a strong one.

    Raises UserError where the file cannot be written.
    """
    from matplotlib import rc_context

    branches = list(rows[0].maps)
    titles = ("Input", "Ground truth", *map(symbol, branches))
    aspect = float(np.mean([row.image.shape[0] / row.image.shape[1] for row in rows]))
    # A second line above, or beside, leaves less room for the cells: at most two turns.
    left, foot, head = 0.22, 0.38, 0.25
    for _ in range(3):
        tall = (height - head - foot) / (len(rows) * aspect)
        cell = min((width - left) / len(titles), tall)
        above = [_fitted(title, 0.96 * cell, 9) for title in titles]
        beside = [_fitted(row.title, 0.96 * cell * aspect, 8) for row in rows]
        head = 0.39 if any("\n" in text for text, _ in above) else 0.25
        left = 0.34 if any("\n" in text for text, _ in beside) else 0.22
    width = left + len(titles) * cell
    height = head + foot + len(rows) * cell * aspect
    with rc_context(_FONT):
        figure = _figure(width, height)
        axes = figure.subplots(len(rows), len(titles), squeeze=False)
        figure.subplots_adjust(
            left / width, foot / height, 1, 1 - head / height, wspace=0.03, hspace=0.03
        )
        size = min(size for _, size in above)
        for (title, _), axis in zip(above, axes[0], strict=True):
            axis.set_title(title, pad=4, fontsize=size, linespacing=1)
        size = min(size for _, size in beside)
        for (title, _), axis in zip(beside, axes[:, 0], strict=True):
            axis.set_ylabel(title, labelpad=3, fontsize=size, linespacing=1)
        for row, cells in zip(rows, axes, strict=True):
            _draw_input(row, cells[0], cells[1])
        for branch, cells in zip(branches, axes.T[2:], strict=True):
            _draw_maps(figure, [row.maps[branch] for row in rows], rows, cells)
        _save(figure, path)


def curves(
    path: Path,
    rates: np.ndarray,  # (K,) false positive rates, ascending
    lines: Mapping[str, Mapping[str, np.ndarray]],  # panel -> branch -> (K,) sPRO
    limit: float = 0.05,
    shown: float = 0.3,
) -> None:
    """The sPRO over the false positive rate, one panel a kind, up to the rate `shown`.

    limit: marked; AU-sPRO is the mean height of a curve to its left.

    Raises UserError where the file cannot be written.
    """
    from matplotlib import rc_context

    with rc_context(_FONT):
        figure = _figure(3.1 * len(lines) + 0.8, 2.7, constrained=True)
        axes = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
        for (panel, branches), axis in zip(lines.items(), axes, strict=True):
            axis.axvspan(0, limit, color="0.92", linewidth=0)
            axis.axvline(limit, color="0.4", linewidth=0.8)
            axis.annotate(
                f"limit {limit:g}",
                (limit, 0.02),
                (3, 0),
                textcoords="offset points",
                color="0.3",
            )
            for k, (branch, values) in enumerate(branches.items()):
                axis.plot(rates, values, label=symbol(branch), **_line(k))
            axis.set(xlim=(0, shown), ylim=(0, 1.02), title=panel)
            axis.set_xlabel("false positive rate")
            _tidy(axis)
        axes[0].set_ylabel("sPRO")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center", frameon=False)
        _save(figure, path)


def training(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    losses: Sequence[str] = ("L_kd", "L_glo", "L_loc"),
) -> None:
    """Losses over the steps on a logarithmic scale, from the rows of metrics.jsonl.

    rows: {"step", loss names...}, and "seed" where there are several: then a line is
        the mean and its band the range over the seeds.
    losses: the columns to draw; one without a positive number is left out.

    Raises UserError where the file cannot be written.
    """
    from matplotlib import rc_context

    with rc_context(_FONT):
        figure = _figure(5.0, 2.9, constrained=True)
        axis = figure.subplots()
        for k, name in enumerate(losses):
            steps, low, mean, high = _by_step(rows, name)
            if not steps.size:
                continue
            style = _line(k) | ({"marker": "o"} if steps.size == 1 else {})
            axis.plot(steps, mean, label=symbol(name), **style)
            axis.fill_between(
                steps, low, high, color=_line(k)["color"], alpha=0.2, lw=0
            )
        if axis.lines:
            axis.set_yscale("log")
            axis.legend(frameon=False)
        axis.set_xlabel("step")
        axis.set_ylabel("loss")
        _tidy(axis)
        _save(figure, path)


def symbol(name: str) -> str:
    """A branch or loss as the paper writes it; other names as they are."""
    return _SYMBOLS.get(name, name)


def _draw_input(row: Row, plain: "Axes", marked: "Axes") -> None:
    picture = np.repeat(row.image, 3 // row.image.shape[-1], axis=-1)
    for axis in (plain, marked):
        axis.imshow(picture, interpolation="antialiased", aspect="auto")
        _bare(axis)
    if row.mask is not None and row.mask.any():
        filled = np.zeros((*row.mask.shape, 4))
        filled[row.mask] = (*_MASK, 0.3)
        marked.imshow(filled, interpolation="nearest", aspect="auto")
        # A frame of background, so that outlines close at the border of the image.
        framed = np.pad(row.mask.astype(float), 1)
        x, y = (np.arange(-1, size + 1) for size in row.mask.shape[::-1])
        for colour, line in (("black", 2.2), (_MASK, 1.1)):  # visible on any ground
            marked.contour(x, y, framed, [0.5], colors=[colour], linewidths=line)
        marked.set(xlim=(-0.5, x[-1] - 0.5), ylim=(y[-1] - 0.5, -0.5))
    elif row.mask is not None:
        marked.text(
            *(0.5, 0.04, "no defect"),
            transform=marked.transAxes,
            ha="center",
            fontsize=7,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5},
        )


def _draw_maps(
    figure: "Figure", maps: Sequence[np.ndarray], rows: Sequence[Row], cells: np.ndarray
) -> None:
    from matplotlib.colors import PowerNorm

    low, high = np.quantile(np.concatenate([m.ravel() for m in maps]), [0.5, 0.999])
    high = high if high > low else low + 1
    for scores, row, axis in zip(maps, rows, cells, strict=True):
        height, width = row.image.shape[:2]
        drawn = axis.imshow(
            scores,
            cmap=_SCORES,
            norm=PowerNorm(_GAMMA, low, high, clip=True),
            interpolation="bilinear",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            aspect="auto",
        )
        _bare(axis)
    box = cells[-1].get_position()
    inches = figure.get_size_inches()[1]
    bar = figure.add_axes(
        (
            box.x0 + 0.06 * box.width,
            box.y0 - 0.16 / inches,
            0.88 * box.width,
            0.07 / inches,
        )
    )
    scale = figure.colorbar(drawn, cax=bar, orientation="horizontal", ticks=[low, high])
    names = [_short(low), _short(high)]
    scale.ax.set_xticklabels(names)
    left, right = scale.ax.get_xticklabels()
    left.set_horizontalalignment("left")
    right.set_horizontalalignment("right")
    room = 0.88 * box.width * figure.get_size_inches()[0]
    size = min(7, 7 * room / _inches("  ".join(names), 7))
    scale.ax.tick_params(length=0, pad=2, labelsize=size)
    scale.outline.set_linewidth(0.4)


def _short(score: float) -> str:
    """Two digits, and all those before the point."""
    return f"{score:.0f}" if abs(score) >= 99.5 else f"{score:.2g}"


def _fitted(text: str, room: float, size: float) -> tuple[str, float]:
    """The text in one line or two, and the font size at which it fits.

    room: inches. size: points; smaller only where two lines do not fit at it.
    """
    if _inches(text, size) <= room:
        return text, size
    breaks = "" if "$" in text else " -_"  # a formula stays whole
    ends = [k + 1 for k, sign in enumerate(text[:-1]) if sign in breaks]
    halves = [[text[:end].rstrip(), text[end:]] for end in ends] or [[text]]
    lines = min(halves, key=lambda half: max(_inches(line, size) for line in half))
    widest = max(_inches(line, size) for line in lines)
    return "\n".join(lines), min(size, size * room / widest)


def _inches(text: str, size: float) -> float:
    """The width of a line of text at a font size in points."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=size).get_extents().width) / 72


def _by_step(
    rows: Sequence[Mapping[str, Any]], name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, and minimum, mean, maximum over the seeds of the positive values."""
    steps: dict[int, list[float]] = {}
    for row in rows:
        if (value := row.get(name)) is not None and value > 0:
            steps.setdefault(row["step"], []).append(value)
    ordered = sorted(steps)
    summary = [(min(v), sum(v) / len(v), max(v)) for v in map(steps.get, ordered) if v]
    low, mean, high = np.array(summary).reshape(-1, 3).T
    return np.array(ordered), low, mean, high


def _line(number: int) -> dict[str, Any]:
    k = number % len(_COLOURS)
    return {"color": _COLOURS[k], "linestyle": _STYLES[k], "linewidth": 1.5}


def _bare(axis: "Axes") -> None:
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(linewidth=0.4, color="0.5")


def _tidy(axis: "Axes") -> None:
    axis.grid(color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _figure(width: float, height: float, constrained: bool = False) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        (width, height), _DPI, layout="constrained" if constrained else None
    )
    FigureCanvasAgg(figure)
    return figure


def _save(figure: "Figure", path: Path) -> None:
    with written(path) as part:
        figure.savefig(part, format="png", metadata={"Software": ""})
