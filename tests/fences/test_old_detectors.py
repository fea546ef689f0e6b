"""Detectors that version 0.1.0 trained say of images what they said there."""

import csv
import importlib
import json
import shutil

import numpy as np
import pytest
import tifffile
from helpers import outside

import gcad_jax

SCORES = outside.expected("scores")


@pytest.fixture(scope="module")
def maps():
    with np.load(outside.FILES / "maps.npz") as file:
        return dict(file)


def test_no_fixture_was_changed():
    """A search and replace over the tests must leave them alone."""
    lines = (outside.FILES / "SHA256SUMS").read_text().splitlines()
    assert len(lines) > 25
    for line in lines:
        digest, name = line.split("  ")
        assert outside.digest(outside.FILES / name) == digest, name


@pytest.mark.parametrize("name", outside.METHODS)
def test_a_detector_finds_the_same(name, maps):
    file = outside.FILES / f"detectors/{name}.npz"
    with np.load(file) as arrays:
        header = json.loads(str(arrays["header"]))
    module, _, kind = header["class"].partition(":")
    assert (module, kind) == (f"gcad_jax.methods.{name}", outside.METHODS[name])
    assert isinstance(getattr(importlib.import_module(module), kind), type)

    detector = gcad_jax.load(file)
    before = SCORES[name]
    assert list(detector.branches) == before["branches"]
    assert list(detector.validation_scores) == before["validation_scores"]
    assert detector.threshold() == before["threshold"]
    found = detector.predict(outside.IMAGES)
    for branch in (*before["branches"], "A"):
        made = np.stack([prediction.network_maps[branch] for prediction in found])
        outside.check_maps(made, maps[f"{name}/{branch}"])
    span = np.ptp(maps[f"{name}/A"])
    scores = [prediction.score for prediction in found]
    np.testing.assert_allclose(scores, before["score"], rtol=0, atol=1e-5 * span)
    assert [prediction.anomalous for prediction in found] == before["anomalous"]
    assert [prediction.p_value for prediction in found] == before["p_value"]
    sizes = [[prediction.height, prediction.width] for prediction in found]
    assert sizes == before["size"]


def test_arrays_are_scored_as_files_and_maps_have_the_size_of_the_image(maps):
    detector = gcad_jax.load(outside.FILES / "detectors/gcad.npz", batch_size=1)
    from PIL import Image

    arrays = [np.asarray(Image.open(path)) for path in outside.IMAGES]
    for number, (image, found) in enumerate(detector.stream(arrays)):
        np.testing.assert_array_equal(image, arrays[number])
        outside.check_maps(found.anomaly_map, maps[f"gcad/full/{number}"])
        assert found.branch_map("A_glo").shape == arrays[number].shape[:2]


def test_predict_says_the_same_of_a_workdir(maps, tmp_path):
    file = tmp_path / "run/circles/detectors/seed_0.npz"
    file.parent.mkdir(parents=True)
    shutil.copyfile(outside.FILES / "detectors/gcad.npz", file)
    for given in ((tmp_path / "run",), (tmp_path / "run", "circles", 0)):
        assert gcad_jax.load(*given).threshold() == SCORES["gcad"]["threshold"]

    images, output = outside.FILES / "images", tmp_path / "out"
    outside.succeeded(
        "predict",
        f"--workdir={tmp_path / 'run'}",
        f"--images={images}",
        f"--output={output}",
    )
    with (output / "scores.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    before, span = SCORES["gcad"], np.ptp(maps["gcad/A"])
    assert [row["image"] for row in rows] == [p.stem for p in outside.IMAGES]
    scores = [float(row["score"]) for row in rows]
    np.testing.assert_allclose(scores, before["score"], rtol=1e-5, atol=1e-5 * span)
    assert [row["anomalous"] == "1" for row in rows] == before["anomalous"]
    p_values = [float(row["p_value"]) for row in rows]
    np.testing.assert_allclose(p_values, before["p_value"], rtol=1e-3)
    for number, path in enumerate(outside.IMAGES):
        made = tifffile.imread(output / f"anomaly_maps/circles/test/{path.stem}.tiff")
        outside.check_maps(made, maps[f"gcad/full/{number}"])
        assert (output / f"overlays/{path.stem}.png").stat().st_size > 0
    about = outside.read_json(output / "predict.json")
    assert about["threshold"] == before["threshold"]
    assert about["images"] == len(outside.IMAGES)
