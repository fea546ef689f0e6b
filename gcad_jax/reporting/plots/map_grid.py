"""The figure of anomaly maps: rows of images, columns of what is shown of them."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from gcad_jax.reporting.plots import style
from gcad_jax.reporting.plots.style import DPI, MASK, PAGE, SCORES, TALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

_GAMMA = 0.4  # scores of logical and structural anomalies differ by a power of ten
_GAP = 0.025  # inches between pictures
_NOTES = 1.0  # inches beside the images, where rows have notes


@dataclasses.dataclass(frozen=True)
class ImageRow:
    """One test image of `render_map_grid`.

    title: its kind or defect type, and its name if wanted.
    image: (H, W, C) uint8, C 1 or 3.
    mask: (H, W) bool, the union of its regions; None without ground truth.
    maps: (h, w) scores by branch, same branches in every row; drawn at the size of the
        image.
    notes: lines below the title, such as its score.
    """

    title: str
    image: np.ndarray
    mask: np.ndarray | None
    maps: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()


def color_scales(rows: Sequence[ImageRow]) -> dict[str, tuple[float, float]]:
    """By branch the median and the 99.9 % quantile of the scores in all rows."""
    scales = {}
    for branch in rows[0].maps:
        scores = np.concatenate([row.maps[branch].ravel() for row in rows])
        low, high = map(float, np.quantile(scores, [0.5, 0.999]))
        scales[branch] = low, (high if high > low else low + 1)
    return scales


def render_map_grid(
    rows: Sequence[ImageRow],
    width: float = PAGE,
    height: float = TALL,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> "Figure":
    """Rows of input, ground truth, every map; one color scale a column.

    width, height: the figure fits into these inches. limits: of the color scales by
    branch; where left out, `color_scales` of these rows.

    Scores outside a scale are drawn as its end, so that the maps of a column compare
    and the noise of normal pixels stays dark. Colors rise with a power of 0.4 of the
    score, so that a weak anomaly shows beside a strong one.
    """
    branches = list(rows[0].maps)
    limits = limits or color_scales(rows)
    titles = ("Input", "Ground truth", *map(style.symbol, branches))
    with style.style_context():
        layout = _fit_grid(rows, titles, width, height)
        figure = style.new_figure(layout.width, layout.height)
        # One diagram over all, and one image in it: one for each picture costs seconds.
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        sides = round(layout.height * DPI), round(layout.width * DPI)
        canvas = np.full((*sides, 3), 255, np.uint8)
        for column, (title, size) in enumerate(layout.above):
            box = layout.box(0, column)
            # Line by line: the last ones are all on one baseline, formulas too.
            for k, line in enumerate(reversed(title.split("\n"))):
                place = box.left + box.width / 2, box.top - 0.07 - 1.15 * k * size / 72
                axis.text(*place, line, fontsize=size, ha="center", va="baseline")
        for number, row in enumerate(rows):
            _draw_row_title(axis, layout, number, row.notes)
            shown = np.repeat(row.image, 3 // row.image.shape[-1], axis=-1)
            pictures = [shown, _tint_regions(shown, row.mask)]
            pictures += [_apply_colormap(row.maps[b], *limits[b]) for b in branches]
            for column, picture in enumerate(pictures):
                _draw_picture(axis, canvas, layout.picture(number, column), picture)
            _draw_outline(axis, layout.picture(number, 1), row.mask)
        for column, branch in enumerate(branches, 2):
            box = layout.box(len(rows) - 1, column)
            _draw_scale(axis, canvas, box, *limits[branch])
        extent = (0, layout.width, layout.height, 0)
        axis.imshow(canvas, interpolation="none", extent=extent, aspect="auto")
        axis.set(xlim=(0, layout.width), ylim=(layout.height, 0))
    return figure


class _Box(NamedTuple):
    """A place of the figure, in inches from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclasses.dataclass(frozen=True)
class _GridLayout:
    """Where everything stands, in inches.

    left, head: left of the pictures and above them. cell, tall: a place for a picture
    and the gap beside it, across and down. aspects: height over width of the pictures
    of each row. above, beside: titles and their font sizes.
    """

    width: float
    height: float
    left: float
    head: float
    cell: float
    tall: float
    aspects: Sequence[float]
    noted: bool
    above: Sequence[tuple[str, float]]
    beside: Sequence[tuple[str, float]]

    def box(self, row: int, column: int) -> _Box:
        """The place of a row and a column, as large as that of any other."""
        left = self.left + column * self.cell
        top = self.head + row * self.tall
        return _Box(left, top, self.cell - _GAP, self.tall - _GAP)

    def picture(self, row: int, column: int) -> _Box:
        """What a picture fills of its place, in the middle of it."""
        box, aspect = self.box(row, column), self.aspects[row]
        if math.isclose(aspect, self.tall / self.cell):  # as all are: no gap is left
            return box
        width = min(box.width, box.height / aspect)
        height = width * aspect
        left, top = (box.width - width) / 2, (box.height - height) / 2
        return _Box(box.left + left, box.top + top, width, height)


def _fit_grid(
    rows: Sequence[ImageRow], titles: Sequence[str], width: float, height: float
) -> _GridLayout:
    """The largest pictures that fit into `width` and `height`."""
    aspects = [row.image.shape[0] / row.image.shape[1] for row in rows]
    aspect = float(np.mean(aspects))
    noted = any(row.notes for row in rows)
    # A second line above, or beside, leaves less room for the cells: at most two turns.
    left, foot, head = (_NOTES if noted else 0.22), 0.29, 0.25
    for _ in range(3):
        tall = (height - head - foot) / (len(rows) * aspect)
        cell = min((width - left) / len(titles), tall)
        room = _NOTES - 0.06 if noted else 0.96 * cell * aspect
        above = [_fit_text(title, 0.96 * cell, 8.5) for title in titles]
        beside = [_fit_text(style.escape_dollars(row.title), room, 8) for row in rows]
        head = 0.39 if any("\n" in text for text, _ in above) else 0.25
        if not noted:
            left = 0.34 if any("\n" in text for text, _ in beside) else 0.22
    above_size, beside_size = (min(s for _, s in texts) for texts in (above, beside))
    return _GridLayout(
        width=left + len(titles) * cell,
        height=head + foot + len(rows) * cell * aspect,
        left=left,
        head=head,
        cell=cell,
        tall=cell * aspect,
        aspects=aspects,
        noted=noted,
        above=[(text, above_size) for text, _ in above],
        beside=[(text, beside_size) for text, _ in beside],
    )


def _draw_row_title(
    axis: "Axes", at: _GridLayout, number: int, notes: Sequence[str]
) -> None:
    """The title of a row, turned, or upright with its notes below it."""
    box, (title, size) = at.box(number, 0), at.beside[number]
    middle = box.top + box.height / 2
    if not at.noted:
        turned: Any = {"rotation": 90, "ha": "right", "va": "center", "linespacing": 1}
        axis.text(box.left - 0.05, middle, title, fontsize=size, **turned)
        return
    lines = [(line, size, "0") for line in title.split("\n")]
    lines += [(note, 7, "0.25") for note in notes]
    step = min(1.35 * 8 / 72, box.height / len(lines))  # smaller in a low row
    smaller = step / (1.35 * 8 / 72)
    for k, (line, points, color) in enumerate(lines):
        top = middle + (k - len(lines) / 2) * step
        axis.text(0.02, top, line, fontsize=points * smaller, color=color, va="top")


def _draw_picture(
    axis: "Axes", canvas: np.ndarray, box: _Box, picture: np.ndarray
) -> None:
    """Puts a picture (h, w, 3) uint8 onto the canvas, at its size, and frames it."""
    left, top, width, height = (round(inches * DPI) for inches in box)
    width, height = max(1, width), max(1, height)
    shown = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    room = canvas[top : top + height, left : left + width]
    room[:] = np.asarray(shown)[: room.shape[0], : room.shape[1]]
    axis.add_patch(_rectangle(box, fill=False, linewidth=0.4, edgecolor="0.5"))


def _rectangle(box: _Box, **more: Any) -> "Rectangle":
    from matplotlib.patches import Rectangle

    return Rectangle(box[:2], *box[2:], **more)


def _tint_regions(picture: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The picture with its regions tinted."""
    if mask is None:
        return picture
    tinted = 0.7 * picture + 0.3 * 255 * np.array(MASK)
    return np.where(mask[..., None], np.rint(tinted), picture).astype(np.uint8)


def _draw_outline(axis: "Axes", box: _Box, mask: np.ndarray | None) -> None:
    """Lines around the regions; of a good image the words that it has none."""
    if mask is not None and mask.any():
        # A frame of background, so that outlines close at the border of the image.
        framed = np.pad(mask.astype(float), 1)
        height, width = mask.shape
        x = box.left + box.width * (np.arange(-1, width + 1) + 0.5) / width
        y = box.top + box.height * (np.arange(-1, height + 1) + 0.5) / height
        for color, line in (("black", 2.0), (MASK, 1.0)):  # visible on any ground
            contour = axis.contour(x, y, framed, [0.5], colors=[color], linewidths=line)
            contour.set_clip_path(_rectangle(box, transform=axis.transData))
    elif mask is not None:
        frame = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5}
        look: Any = {"ha": "center", "va": "bottom", "fontsize": 6.5, "bbox": frame}
        x, y = box.left + box.width / 2, box.top + box.height - 0.04
        axis.text(x, y, "no defect", **look)


def _apply_colormap(scores: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scores as colors, (h, w, 3) uint8."""
    from matplotlib import colormaps

    share = np.clip((scores - low) / (high - low), 0, 1) ** _GAMMA
    return colormaps[SCORES](share, bytes=True)[..., :3]


def _draw_scale(
    axis: "Axes", canvas: np.ndarray, above: _Box, low: float, high: float
) -> None:
    """The colors of a column and the scores that its ends stand for."""
    width = 0.88 * above.width
    left, top = above.left + 0.06 * above.width, above.top + above.height + 0.06
    bar = _Box(left, top, width, 0.06)
    ramp = np.linspace(low, high, 256)[None]
    _draw_picture(axis, canvas, bar, _apply_colormap(ramp, low, high))
    names = [_format_score(low), _format_score(high)]
    size = min(7, 7 * width / _text_width("  ".join(names), 7))
    axis.text(left, top + 0.08, names[0], fontsize=size, ha="left", va="top")
    axis.text(left + width, top + 0.08, names[1], fontsize=size, ha="right", va="top")


def _format_score(score: float) -> str:
    """Two digits, and all those before the point."""
    return f"{score:.0f}" if abs(score) >= 99.5 else f"{score:.2g}"


def _fit_text(text: str, room: float, size: float) -> tuple[str, float]:
    """The text in one line or two, and the font size at which it fits.

    room: inches. size: points; smaller only where two lines do not fit at it.
    """
    if _text_width(text, size) <= room:
        return text, size
    breaks = "" if "$" in text else " -_"  # a formula stays whole
    ends = [k + 1 for k, sign in enumerate(text[:-1]) if sign in breaks]
    halves = [[text[:end].rstrip(), text[end:]] for end in ends] or [[text]]
    lines = min(halves, key=lambda half: max(_text_width(line, size) for line in half))
    widest = max(_text_width(line, size) for line in lines)
    return "\n".join(lines), min(size, size * room / widest)


@functools.cache
def _text_width(text: str, size: float) -> float:
    """The width of a line of text at a font size in points.

    Of the points that its curves are drawn by: their extents would take a second.
    """
    from matplotlib.textpath import TextPath

    across = TextPath((0, 0), text, size=size).vertices[:, 0]
    return float(np.ptp(across)) / 72 if across.size else 0.0
