"""The figure of anomaly maps shows what it was given, and its words fit."""

import itertools

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from gcad_jax.reporting.plots import map_grid, style

BRANCHES = ("A_loc", "A_glo", "A")


def saved(path, rows, **fields):
    """The pixels of the PNG."""
    style.save_figure(map_grid.render_map_grid(rows, **fields), {"png": path})
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def row(title, mask, channels=3, side=16, branches=BRANCHES):
    random = np.random.default_rng(len(title))
    image = random.integers(0, 100, (side, side, channels), np.uint8)
    maps = {branch: random.random((8, 8), np.float32) for branch in branches}
    return map_grid.ImageRow(title, image, mask, maps)


def color_count(pixels, color, tolerance=30):
    distance = np.abs(pixels - np.array(color).reshape(1, 1, 3)).max(-1)
    return int((distance <= tolerance).sum())


def test_qualitative(tmp_path):
    mask = np.zeros((16, 16), bool)
    mask[4:10, 5:12] = True
    rows = [row("logical", mask), row("structural", mask), row("good", mask & False)]
    pixels = saved(tmp_path / "figures" / "maps.png", rows)
    assert abs(pixels.shape[1] / style.DPI - style.PAGE) < 0.05  # inches
    outline = (0, 230, 255)
    assert color_count(pixels, outline) > 500
    third = pixels.shape[1] // 5
    assert color_count(pixels[:, :third], outline) == 0  # the input stays clean


def test_masks_that_fill_the_image_are_marked(tmp_path):
    full = np.ones((16, 16), bool)
    filled = saved(tmp_path / "full.png", [row("logical", full)])
    none = saved(tmp_path / "none.png", [row("logical", None)])
    outline = (0, 230, 255)
    assert color_count(filled, outline) > 300
    assert color_count(none, outline) == 0


def test_a_map_lies_where_its_image_does():
    """A bright corner is in that corner, and one scale of colors is used for all."""
    scores = np.zeros((8, 8), np.float32)
    scores[:4, 4:] = 1.0
    image = np.zeros((16, 16, 3), np.uint8)
    rows = [
        map_grid.ImageRow("a", image, None, {"A": scores}),
        map_grid.ImageRow("b", image, None, {"A": scores / 2}),
    ]
    figure = map_grid.render_map_grid(rows, limits={"A": (0.0, 1.0)})
    (axis,) = figure.axes
    (canvas,) = axis.images
    pixels = np.asarray(canvas.get_array()).astype(int).sum(-1)
    # The last column, from its frames: a row each, and the scale below.
    frames = [patch.get_bbox() for patch in axis.patches]
    frames = [box for box in frames if box.x1 > figure.get_size_inches()[0] - 0.1]
    first, second = sorted(frames, key=lambda box: box.y0)[:2]

    def at(box, across, down):
        x = box.x0 + across * box.width
        y = box.y0 + down * box.height
        return pixels[int(y * style.DPI), int(x * style.DPI)]

    assert at(first, 0.75, 0.25) > 3 * at(first, 0.25, 0.75)
    assert at(first, 0.75, 0.25) > at(second, 0.75, 0.25) > at(second, 0.25, 0.75)


def test_qualitative_fits_the_page_whatever_the_images(tmp_path):
    maps = {"A": np.zeros((8, 8), np.float32)}  # one branch, constant
    tall = map_grid.ImageRow("good", np.zeros((40, 10, 1), np.uint8), None, maps)
    height, width, _ = saved(tmp_path / "tall.png", [tall] * 6).shape
    assert height <= style.TALL * style.DPI + 1
    assert width <= style.PAGE * style.DPI


def test_pictures_keep_their_aspect():
    """Each in the middle of a place that is as large as the others."""
    maps = {"A": np.zeros((4, 8), np.float32)}
    shapes = [(20, 40), (40, 20), (30, 30), (25, 50)]
    rows = [
        map_grid.ImageRow("good", np.zeros((*shape, 3), np.uint8), None, maps)
        for shape in shapes
    ]
    figure = map_grid.render_map_grid(rows)
    (axis,) = figure.axes
    # Three pictures a row, then the scale of the one map.
    frames = [patch.get_bbox() for patch in axis.patches][: 3 * len(rows)]
    lines = [frames[3 * i : 3 * i + 3] for i in range(len(rows))]
    for (height, width), line in zip(shapes, lines, strict=True):
        for box in line:
            assert box.height / box.width == pytest.approx(height / width, rel=0.02)
        (top,) = {round(box.y0, 6) for box in line}
        assert top > 0
    for column in zip(*lines, strict=True):
        middles = [(box.x0 + box.x1) / 2 for box in column]
        assert middles == pytest.approx([middles[0]] * len(rows))
    for above, below in itertools.pairwise(lines):
        assert max(box.y1 for box in above) < min(box.y0 for box in below)


METHODS = ("Variation Model", "f-AnoGAN", "MNAD", "AE", "VAE", "Student-Teacher", "A")


def test_short_numbers_and_whole_formulas():
    scores = (0.000433, -0.466, 9.96, 99.4, 99.6, 807.2)
    assert [map_grid._format_score(score) for score in scores] == [
        *("0.00043", "-0.47", "10", "99", "100", "807")
    ]
    formula = style.symbol("A_loc")
    text, size = map_grid._fit_text(formula, 0.05, 9)
    assert text == formula
    assert 0 < size < 9


@pytest.mark.parametrize(
    "notes", [(), ("structural", "score 0.0123", "rank 12 of 296")]
)
@pytest.mark.parametrize("shape", [(16, 16, 3), (32, 16, 3), (16, 32, 3)])
def test_no_words_of_a_wide_figure_touch(shape, notes):
    random = np.random.default_rng(0)
    maps = {
        name: random.random((8, 8)) * 10.0 ** -(k % 5) for k, name in enumerate(METHODS)
    }
    kinds = ("additional circle", "wrong fill level (too much)", "good", "color")
    rows = [
        map_grid.ImageRow(kind, np.zeros(shape, np.uint8), None, maps, notes)
        for kind in kinds
    ]
    figure = map_grid.render_map_grid(rows)
    page = (style.PAGE + 1e-6, style.TALL + 1e-6)
    assert (figure.get_size_inches() <= page).all()
    figure.canvas.draw()
    found = [text for text in figure.findobj(Text) if text.get_text()]
    words = [text for text in found if text.get_visible() and text.axes.texts]
    words = [text for text in words if text in text.axes.texts]
    least = 2 + len(METHODS) + len(kinds) * (1 + len(notes)) + 2 * len(METHODS)
    assert len(words) >= least
    boxes = [word.get_window_extent() for word in words]
    for k, (word, box) in enumerate(zip(words, boxes, strict=True)):
        assert box.y1 <= figure.bbox.height + 1, word
        assert box.x1 <= figure.bbox.width + 1, word
        assert min(box.x0, box.y0) >= -1, word
        for other, far in zip(words[:k], boxes[:k], strict=True):
            assert not (
                box.x0 < far.x1
                and far.x0 < box.x1
                and box.y0 < far.y1
                and far.y0 < box.y1
            ), (word, other)
