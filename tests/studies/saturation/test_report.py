"""The tables and the figure of the study: many methods, long and odd names."""

import numpy as np
import pytest
from PIL import Image

from gcad_jax.reporting.plots import style
from gcad_jax.reporting.tables import markdown_table
from gcad_jax.studies.saturation import report
from gcad_jax.studies.saturation.report import PDF, PNG
from gcad_jax.studies.saturation.statistics import ThresholdStudy, summarize_study

LONG = "a_method_with_a_name_that_nobody_would_want_to_read_in_a_table"
FACTS = {"varying": 3, "regions": 4, "thresholds": {"a": {}}, "bound": {"x": 0.0}}
SETTINGS = {"num_draws": 30, "seed": 0, "low": 0.5, "high": 1.5, "vary_relative": True}


def values(methods, spread=1.0):
    random = np.random.default_rng(0)
    draws = random.random((methods, 2, 5, 31)) * spread
    return draws + random.random((methods, 2, 5, 1))


def found(names, categories=1, spread=1.0):
    studies = {
        f"category_{n}": ThresholdStudy(values(len(names), spread), FACTS)
        for n in range(categories)
    }
    auspro = {name: study.auspro for name, study in studies.items()}
    return summarize_study(names, studies, SETTINGS), auspro


def test_labels_are_short_and_distinct():
    names = ["p33", LONG, f"{LONG}2", LONG[:40] + LONG[-9:], "x" * 20, "x" * 21]
    labels = report.shorten(names)
    assert len(set(labels)) == len(names)
    assert all(len(label) <= report.LONGEST for label in labels)
    assert labels[0] == "p33"
    assert labels[4] == "x" * 20
    assert labels[1] == "a_method_w…n_a_table"


def test_many_methods_fit_into_80_columns():
    names = [f"{LONG} seed {n}" for n in range(12)]
    text = report.render_markdown(found(names, 2)[0])
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert max(map(len, tables)) <= 80
    assert f"- a_method_w…le seed 0: {LONG} seed 0" in text
    assert text.count("a_method_w…le seed 3 ") >= 9
    # Of the 66 pairs those are shown that change most, and the others are counted.
    pairs = [line for line in tables if " / " in line]
    assert len(pairs) == 3 * report.MOST_PAIRS
    assert "pairs change less" in text


def test_rows_are_aligned_and_bars_escaped():
    table = markdown_table(["a", "value"], [["x|y", "1"], ["z", "22"]], 1, True)
    assert table.splitlines() == [
        r"| a    | value |",
        r"| :--- | ----: |",
        r"| x\|y |     1 |",
        r"| z    |    22 |",
    ]


def test_pairs_that_never_change():
    names = ["u", "v"]
    text = report.render_markdown(found(names, spread=0)[0])
    assert "At limit 0.05 every draw orders every pair as the original does." in text


@pytest.mark.parametrize(("methods", "categories"), [(1, 1), (30, 2)])
def test_figure(tmp_path, methods, categories):
    names = [f"$method_{n}" for n in range(methods)]
    _, drawn = found(names, categories)
    if categories > 1:
        drawn["category_0"][:, 0] = np.nan  # no structural images
        drawn["category_1"] = np.broadcast_to(
            drawn["category_1"][..., :1], drawn["category_1"].shape
        )
    paths = {"png": tmp_path / PNG, "pdf": tmp_path / PDF}
    style.save_figure(report.render_figure(names, drawn), paths)
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    assert paths["pdf"].read_bytes().startswith(b"%PDF")


def test_figure_of_very_many_methods(tmp_path, monkeypatch):
    # The renderer takes sides of less than 65536 pixels.
    monkeypatch.setattr(style, "_MOST_PIXELS", 200)
    names = [f"method_{n}" for n in range(20)]
    paths = {"png": tmp_path / PNG, "pdf": tmp_path / PDF}
    style.save_figure(report.render_figure(names, found(names)[1]), paths)
    with Image.open(paths["png"]) as image:
        assert image.height <= 200
