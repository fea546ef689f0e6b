"""One style for every figure: sizes of a paper, fonts, colors, and how it is saved.

Figures are drawn without a display and without the state of pyplot. What differs in
color differs in a line style, a marker or a hatch as well, and color maps ascend in
lightness, so that prints in gray and color-blind readers see the same.
"""

import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from etils import epath

from gcad_jax.core.atomic_files import atomic_file
from gcad_jax.core.paths import Path, as_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE, TALL = 3.3, 6.9, 8.8  # inches: a column, a page, and its height
DPI = 200  # of PNGs, and of the images within PDFs
FORMATS = ("png", "pdf")
SCORES = "inferno"  # the color map of anomaly scores
MASK = (0.0, 0.9, 1.0)  # rare in photos, bright on dark
# Okabe and Ito's colors without their yellow, which is lost on white, and a gray.
COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#E69F00", "#56B4E9", "#000000", "#777777"),
)
_DASHES = ("-", "--", "-.", ":")  # more lines than these have markers as well
_MARKERS = ("o", "s", "^", "D")
# Structural, logical and their mean, in every study.
KIND_COLORS = ("#E69F00", "#0072B2", "#4D4D4D")
KIND_FILLS = (*KIND_COLORS[:2], "#D4D4D4")  # of bars, which are lighter than lines
KIND_HATCHES = ("", "/////", "")
KIND_MARKERS = ("o", "s", "^")
KIND_DASHES = ("-", "--", ":")
PAPER_DASHES = (0, (2, 1))  # of the paper's numbers beside ours
_MOST_PIXELS = 60_000  # of a side: the renderer takes no more than 2**16
_SYMBOL = re.compile(r"([AELRUdgp])(?:_([A-Za-z]+))?(?:_(\d+))?")
_RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7.5,
    "hatch.linewidth": 0.7,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,  # text stays text, its font is embedded as TrueType
}
# No date nor version in a file; PNGs a little larger, for half the time.
_SAVED: Any = {
    "png": {"metadata": {"Software": ""}, "pil_kwargs": {"compress_level": 4}},
    "pdf": {"metadata": {"CreationDate": None}},
}


def style_context() -> contextlib.AbstractContextManager[None]:
    """Figures that are made within have the fonts and widths of the style."""
    from matplotlib import rc_context

    return rc_context(_RC)


def new_figure(width: float, height: float, constrained: bool = False) -> "Figure":
    """An empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Panels side by side are a little further apart than by default.
    layout = ConstrainedLayoutEngine(wspace=0.05, hspace=0.06) if constrained else None
    figure = Figure((width, height), min(DPI, _MOST_PIXELS / height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def figure_paths(path: Path) -> dict[str, epath.Path]:
    """The files of a figure by format: the PNG `path`, and the PDF beside it."""
    png = as_path(path)
    return {form: png.with_suffix(f".{form}") for form in FORMATS}


def save_figure(figure: "Figure", paths: Mapping[str, Path]) -> None:
    """Writes a figure in each of FORMATS that `paths` names: all of them, or none.

    Raises UserError where one cannot be written.
    """
    with contextlib.ExitStack() as files, style_context():
        for form, path in paths.items():
            part = files.enter_context(atomic_file(path))
            figure.savefig(part, format=form, **_SAVED[form])


def line_style(number: int) -> dict[str, Any]:
    """Color, dashes and marker of the line that is drawn as number `number`."""
    k = number % len(COLORS)
    look = {"color": COLORS[k], "linestyle": _DASHES[k % 4], "linewidth": 1.4}
    return look | ({"marker": _MARKERS[k % 4], "markersize": 3.5} if k >= 4 else {})


def tidy_axis(axis: "Axes", grid: str = "both") -> None:
    """A diagram: no frame at the top and the right, a light grid below all."""
    axis.grid(axis=grid, color="0.9", linewidth=0.6)  # type: ignore[arg-type]
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def escape_dollars(text: str) -> str:
    """A dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def symbol(name: str) -> str:
    """A branch, network, loss or size as the paper writes it; other names as they are.

    A number behind a name is its receptive field p.
    """
    if not (parts := _SYMBOL.fullmatch(name)):
        return escape_dollars(name)
    letter, below, size = parts.groups()
    formula = f"${letter}" + (rf"_{{\mathrm{{{below}}}}}$" if below else "$")
    return formula + (f", $p$ = {size}" if size else "")


def symbols(text: str) -> str:
    """A text with the symbols among its words as the paper writes them."""
    return re.sub(r"[^\s,]+", lambda word: symbol(word.group()), text)
