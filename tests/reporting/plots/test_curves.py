"""Diagrams are whole files of the right size that show what they were given."""

import re

import numpy as np
import pytest
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.evaluation.spro import RATES
from gcad_jax.reporting.plots import curves, style

BRANCHES = ("A_loc", "A_glo", "A")


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def color_count(pixels, color, tolerance=30):
    distance = np.abs(pixels - np.array(color).reshape(1, 1, 3)).max(-1)
    return int((distance <= tolerance).sum())


def test_curves_mark_the_limit(tmp_path):
    lines = {
        kind: {branch: np.sqrt(RATES) for branch in BRANCHES}
        for kind in ("structural", "logical")
    }
    one = {"structural": lines["structural"]}
    for name, shown in (("two", lines), ("one", one)):
        style.save_figure(
            curves.render_spro_curves(RATES, shown), {"png": tmp_path / f"{name}.png"}
        )
    two, one = read(tmp_path / "two.png"), read(tmp_path / "one.png")
    assert two.shape[1] == pytest.approx(style.PAGE * style.DPI, abs=1)
    assert one.shape[1] == pytest.approx(style.COLUMN * style.DPI, abs=1)
    assert color_count(one, (235, 235, 235), 1) > 1000  # left of the limit


def test_a_line_that_one_panel_lacks_keeps_its_color():
    """Of a method without logical anomalies, say."""
    of_all = {name: np.sqrt(RATES) for name in ("one", "two")}
    figure = curves.render_spro_curves(
        RATES, {"structural": of_all, "logical": {"two": RATES}}
    )
    first, second = (
        [line for line in axis.lines if len(line.get_xdata()) == len(RATES)]
        for axis in figure.axes
    )
    assert second[0].get_color() == first[1].get_color() != first[0].get_color()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]


def test_training_with_seeds_and_late_losses(tmp_path):
    rows = [
        {"step": step, "seed": seed, "phase": "joint", "L_kd": 1 / (step + seed + 1)}
        | ({"L_glo": 0.1 * (seed + 1)} if step > 5 else {})
        for step in range(10)
        for seed in (0, 1)
    ]
    style.save_figure(curves.render_loss_curves(rows), {"png": tmp_path / "losses.png"})
    blue, green = (0, 114, 178), (0, 158, 115)
    pixels = read(tmp_path / "losses.png")
    assert color_count(pixels, blue) > 200
    assert color_count(pixels, green) == 0  # no L_loc in these rows


@pytest.mark.parametrize("rows", [[], [{"step": 1, "L_kd": 0.5}], [{"step": 1}]])
def test_training_of_short_runs(tmp_path, rows):
    style.save_figure(curves.render_loss_curves(rows), {"png": tmp_path / "losses.png"})
    assert read(tmp_path / "losses.png").size


def test_mean_and_range_over_seeds_by_hand():
    rows = [
        {"step": 2, "loss": 4.0},
        {"step": 1, "loss": 1.0},
        {"step": 1, "loss": 3.0},
        {"step": 3, "loss": 0.0},  # has no logarithm
    ]
    steps, low, mean, high = curves._by_step(rows, "loss")
    assert [list(x) for x in (steps, low, mean, high)] == [
        [1, 2],
        [1, 4],
        [2, 4],
        [3, 4],
    ]


def test_a_long_training_is_drawn_by_few_points():
    rows = [{"step": step, "loss": 2.0 + step % 2} for step in range(9000)]
    steps, low, mean, _ = curves._by_step(rows, "loss")
    assert len(steps) == len(mean) == 300
    assert list(steps[:2]) == [14.5, 44.5]  # of 30 each
    np.testing.assert_allclose([low, mean], 2.5)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        style.save_figure(
            curves.render_loss_curves([]),
            style.figure_paths(tmp_path / "file" / "losses.png"),
        )


def test_both_formats_or_none(tmp_path, monkeypatch):
    figure = curves.render_loss_curves([{"step": 1, "L_kd": 0.5}])
    paths = style.figure_paths(tmp_path / "losses.png")
    style.save_figure(figure, paths)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["losses.pdf", "losses.png"]
    for path in paths.values():
        path.unlink()
    save = figure.savefig

    def full(part, **more):
        if more["format"] == "pdf":
            raise OSError(28, "No space left on device")
        save(part, **more)

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(UserError, match=r"losses.pdf cannot be written \(No space"):
        style.save_figure(figure, paths)
    assert list(tmp_path.iterdir()) == []


def test_a_pdf_has_the_size_of_a_column_and_its_fonts(tmp_path):
    figure = curves.render_loss_curves([{"step": 1, "L_kd": 0.5}])
    style.save_figure(figure, {"pdf": tmp_path / "losses.pdf"})
    data = (tmp_path / "losses.pdf").read_bytes()
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
    points = 72 * np.array([style.COLUMN, 2.4])
    np.testing.assert_allclose([float(side) for side in box], points, atol=0.1)
    fonts = data.count(b"/Type /FontDescriptor")
    assert fonts > 0
    assert data.count(b"/FontFile2") == fonts, "every font is embedded, as TrueType"
    assert b"/Type3" not in data, "text is no drawing"
    assert data.count(b"/ToUnicode") == fonts, "text can be searched and copied"
    assert b"/CreationDate" not in data


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("A", "$A$"),
        ("A_loc", r"$A_{\mathrm{loc}}$"),
        ("L_kd_17", r"$L_{\mathrm{kd}}$, $p$ = 17"),
        ("L_33", "$L$, $p$ = 33"),
        ("VAE", "VAE"),
        ("a$b$", r"a\$b\$"),
    ],
)
def test_symbols_as_in_the_paper(name, shown):
    assert style.symbol(name) == shown


def test_symbols_within_a_text():
    assert style.symbols("A_glo from, circles") == (r"$A_{\mathrm{glo}}$ from, circles")
