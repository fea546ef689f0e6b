"""One picture of what a detector finds in an image: input, heat map, both together.

Drawn with Pillow alone: a figure of matplotlib would cost more than the detector.
"""

import dataclasses
import functools
import struct
import zlib
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gcad_jax.data.resize import upsample
from gcad_jax.reporting.plots.style import SCORES

SIDE = 480  # pixels of the longer side of a panel
GAP, HEAD, LABEL = 6, 26, 20  # pixels between panels, of the headline, of the labels
OUTLINE = ((0, 0, 0), (0, 230, 255))  # of the contour: rim and line, on any ground
_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_UP = 2  # the filter: each row as its difference from the row above
ZLIB_LEVEL = 1  # the fastest that compresses
VISIBLE = 0.75  # of the heat map on the image, where it is brightest


@dataclasses.dataclass(frozen=True)
class Heat:
    """One map as colors.

    scores: (h, w). low: drawn as the darkest color; threshold: as the middle one, and
    twice as far from `low` is the brightest.
    """

    scores: np.ndarray
    low: float
    threshold: float

    def levels(self, height: int, width: int) -> np.ndarray:  # (height, width) in 0..1
        """0 at `low`, one half at the threshold."""
        scores = upsample(self.scores, height, width)
        span = max(2 * (self.threshold - self.low), 1e-12)
        return np.clip((scores - self.low) / span, 0, 1)

    def resize(self, height: int, width: int) -> "Heat":
        """The same at another size, so that it is upsampled once."""
        return dataclasses.replace(self, scores=upsample(self.scores, height, width))


def render_overlay(
    image: np.ndarray, headline: str, combined: Heat, branches: Mapping[str, Heat]
) -> Image.Image:
    """Panels in a row: input, heat map, heat map on the input, and the branches'.

    image: (H, W, C) uint8, or what `shrink` made of it. headline: above all. branches:
    by the label of their panel. The contour in the third panel encloses the pixels
    above the threshold.
    """
    shown = shrink(image)
    combined = combined.resize(*shown.shape[:2])
    panels = {
        "input": shown,
        "anomaly map": apply_colormap(combined.levels(*shown.shape[:2])),
        "contour at the threshold": blend_heat(shown, combined),
    }
    for name, heat in branches.items():
        panels[name] = apply_colormap(heat.levels(*shown.shape[:2]))
    return _join_panels(headline, panels)


def shrink(image: np.ndarray) -> np.ndarray:  # (h, w, 3) uint8
    """An image (H, W, C) uint8 at the size at which an overlay shows it.

    The longer side is `SIDE`, which a small image is enlarged to; again it is the same.
    """
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    filtered = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(picture.resize(size, filtered).convert("RGB"))


def blend_heat(image: np.ndarray, heat: Heat) -> np.ndarray:  # (h, w, 3) uint8
    """The heat map on the image, and the outline of what is above the threshold."""
    height, width = image.shape[:2]
    levels = heat.levels(height, width)
    # Below the threshold the image is seen, above it the heat map.
    alpha = [round(255 * VISIBLE * min(max(i / 127.5 - 0.5, 0), 1)) for i in range(256)]
    hot, plain = Image.fromarray(apply_colormap(levels)), Image.fromarray(image)
    marked = np.array(Image.composite(hot, plain, _to_8_bit(levels).point(alpha)))
    inside = upsample(heat.scores, height, width) > heat.threshold
    for color, steps in zip(OUTLINE, (2, 1), strict=True):
        marked[find_outline(inside, steps)] = color
    return marked


def find_outline(inside: np.ndarray, steps: int) -> np.ndarray:  # (h, w) bool
    """Pixels outside a region and at most `steps` away from it, along rows, columns."""
    grown = inside
    for _ in range(steps):
        wider = grown.copy()
        wider[1:] |= grown[:-1]
        wider[:-1] |= grown[1:]
        wider[:, 1:] |= grown[:, :-1]
        wider[:, :-1] |= grown[:, 1:]
        grown = wider
    return grown & ~inside


def apply_colormap(levels: np.ndarray) -> np.ndarray:  # (h, w, 3) uint8
    """Levels (h, w) in 0..1 in the colors of the figures."""
    indexed = _to_8_bit(levels)
    indexed.putpalette(_palette())
    return np.asarray(indexed.convert("RGB"))


def _to_8_bit(levels: np.ndarray) -> Image.Image:  # of 8 bits
    return Image.fromarray((levels * 255).round().astype(np.uint8))


@functools.cache
def _palette() -> bytes:
    """Red, green and blue of 256 levels, one after the other."""
    from matplotlib import colormaps

    return colormaps[SCORES](np.arange(256), bytes=True)[:, :3].tobytes()


@functools.cache
def _font(size: int) -> _Font:
    """Matplotlib's: Pillow's own has Latin letters alone."""
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def _join_panels(headline: str, panels: Mapping[str, np.ndarray]) -> Image.Image:
    height, width = next(iter(panels.values())).shape[:2]
    step = max(width, 150) + GAP  # a narrow image leaves room for its label
    size = GAP + step * len(panels), HEAD + LABEL + height + GAP
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    font = _font(15)
    pen.text((GAP, 4), _fit_text(headline, font, sheet.width - 2 * GAP), "black", font)
    small = _font(12)
    for place, (name, panel) in enumerate(panels.items()):
        left = GAP + place * step
        pen.text((left, HEAD), _fit_text(name, small, step - GAP), (70, 70, 70), small)
        sheet.paste(Image.fromarray(panel), (left, HEAD + LABEL))
    return sheet


def _fit_text(text: str, font: _Font, room: int) -> str:
    """The text, its middle left out where it is too long."""
    if font.getlength(text) <= room:
        return text
    for letters in range(len(text), 1, -1):
        shorter = f"{text[: (letters + 1) // 2]}...{text[len(text) - letters // 2 :]}"
        if font.getlength(shorter) <= room:
            break
    return shorter


def encode_png(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG file, in a third of the time of Pillow for the same size.

    Pillow tries five filters on each row; here all rows have one (PNG, section 9:
    "Up"). Overlays are as many as images, and writing them should not take longer than
    scoring.

    pixels: (H, W, 3) uint8, at least one.
    """
    height, width, _ = pixels.shape
    flat = pixels.reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = PNG_UP
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    data = zlib.compress(rows.data, ZLIB_LEVEL)
    chunks = (b"IHDR", header), (b"IDAT", data), (b"IEND", b"")
    return PNG_SIGNATURE + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
