"""Figures are whole PNG files that show what they were given."""

import numpy as np
import pytest
from PIL import Image

from gcad_jax import plots
from gcad_jax.checks import UserError
from gcad_jax.evaluation.spro import RATES

BRANCHES = ("A_loc", "A_glo", "A")


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def row(title, mask, channels=3, side=16, branches=BRANCHES):
    random = np.random.default_rng(len(title))
    image = random.integers(0, 100, (side, side, channels), np.uint8)
    maps = {branch: random.random((8, 8), np.float32) for branch in branches}
    return plots.Row(title, image, mask, maps)


def colour_count(pixels, colour, tolerance=30):
    distance = np.abs(pixels - np.array(colour).reshape(1, 1, 3)).max(-1)
    return int((distance <= tolerance).sum())


def test_qualitative(tmp_path):
    mask = np.zeros((16, 16), bool)
    mask[4:10, 5:12] = True
    path = tmp_path / "figures" / "maps.png"
    rows = [row("logical", mask), row("structural", mask), row("good", mask & False)]
    plots.qualitative(path, rows)
    pixels = read(path)
    assert abs(pixels.shape[1] / 150 - 7) < 0.05  # inches at 150 dots
    outline = (0, 230, 255)
    assert colour_count(pixels, outline) > 500
    third = pixels.shape[1] // 5
    assert colour_count(pixels[:, :third], outline) == 0  # the input stays clean


def test_qualitative_marks_masks_that_fill_the_image(tmp_path):
    full = np.ones((16, 16), bool)
    plots.qualitative(tmp_path / "full.png", [row("logical", full)])
    plots.qualitative(tmp_path / "none.png", [row("logical", None)])
    outline = (0, 230, 255)
    assert colour_count(read(tmp_path / "full.png"), outline) > 300
    assert colour_count(read(tmp_path / "none.png"), outline) == 0


def test_qualitative_fits_the_page_whatever_the_images(tmp_path):
    maps = {"A": np.zeros((8, 8), np.float32)}  # one branch, constant
    tall = plots.Row("good", np.zeros((40, 10, 1), np.uint8), None, maps)
    plots.qualitative(tmp_path / "tall.png", [tall] * 6)
    height, width, _ = read(tmp_path / "tall.png").shape
    assert height <= 9 * 150 + 1
    assert width <= 7 * 150


METHODS = ("Variation Model", "f-AnoGAN", "MNAD", "AE", "VAE", "Student-Teacher", "A")


def test_short_numbers_and_whole_formulas():
    scores = (0.000433, -0.466, 9.96, 99.4, 99.6, 807.2)
    assert [plots._short(score) for score in scores] == [
        *("0.00043", "-0.47", "10", "99", "100", "807")
    ]
    formula = plots.symbol("A_loc")
    text, size = plots._fitted(formula, 0.05, 9)
    assert text == formula
    assert 0 < size < 9


@pytest.mark.parametrize("shape", [(16, 16, 3), (32, 16, 3), (16, 32, 3)])
def test_no_words_of_a_wide_figure_touch(tmp_path, monkeypatch, shape):
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure))
    random = np.random.default_rng(0)
    maps = {
        name: random.random((8, 8)) * 10.0 ** -(k % 5) for k, name in enumerate(METHODS)
    }
    kinds = ("additional circle", "wrong fill level (too much)", "good", "color")
    rows = [plots.Row(kind, np.zeros(shape, np.uint8), None, maps) for kind in kinds]
    plots.qualitative(tmp_path / "maps.png", rows)
    (figure,) = drawn
    assert (figure.get_size_inches() <= (7 + 1e-6, 9 + 1e-6)).all()
    figure.canvas.draw()
    words = [
        text
        for axis in figure.axes
        for text in (axis.title, axis.yaxis.label, *axis.get_xticklabels())
        if text.get_text()
    ]
    assert len(words) >= 2 + len(METHODS) + len(kinds) + 2 * len(METHODS)
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


def test_curves_mark_the_limit(tmp_path):
    lines = {
        kind: {branch: np.sqrt(RATES) for branch in BRANCHES}
        for kind in ("structural", "logical")
    }
    plots.curves(tmp_path / "two.png", RATES, lines)
    plots.curves(tmp_path / "one.png", RATES, {"structural": lines["structural"]})
    two, one = read(tmp_path / "two.png"), read(tmp_path / "one.png")
    assert two.shape[1] > 1.5 * one.shape[1]
    assert colour_count(one, (235, 235, 235), 1) > 1000  # left of the limit


def test_training_with_seeds_and_late_losses(tmp_path):
    rows = [
        {"step": step, "seed": seed, "phase": "joint", "L_kd": 1 / (step + seed + 1)}
        | ({"L_glo": 0.1 * (seed + 1)} if step > 5 else {})
        for step in range(10)
        for seed in (0, 1)
    ]
    plots.training(tmp_path / "losses.png", rows)
    blue, green = (0, 114, 178), (0, 158, 115)
    pixels = read(tmp_path / "losses.png")
    assert colour_count(pixels, blue) > 200
    assert colour_count(pixels, green) == 0  # no L_loc in these rows


@pytest.mark.parametrize("rows", [[], [{"step": 1, "L_kd": 0.5}], [{"step": 1}]])
def test_training_of_short_runs(tmp_path, rows):
    plots.training(tmp_path / "losses.png", rows)
    assert read(tmp_path / "losses.png").size


def test_mean_and_range_over_seeds_by_hand():
    rows = [
        {"step": 2, "loss": 4.0},
        {"step": 1, "loss": 1.0},
        {"step": 1, "loss": 3.0},
        {"step": 3, "loss": 0.0},  # has no logarithm
    ]
    steps, low, mean, high = plots._by_step(rows, "loss")
    assert [list(x) for x in (steps, low, mean, high)] == [
        [1, 2],
        [1, 4],
        [2, 4],
        [3, 4],
    ]


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        plots.training(tmp_path / "file" / "losses.png", [])


def test_nothing_half_written(tmp_path):
    plots.training(tmp_path / "losses.png", [{"step": 1, "L_kd": 0.5}])
    assert [p.name for p in tmp_path.iterdir()] == ["losses.png"]
