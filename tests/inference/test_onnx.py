"""`python -m gcad_jax.export --format=onnx`, and what reads such a file."""

import csv
import json
import pathlib
import sys

import numpy as np
import pytest
from helpers import runs
from inference.test_detector import images, judged, stored

import gcad_jax
from gcad_jax.benchmarks import predict
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path
from gcad_jax.data.resize import resize_image, upsample
from gcad_jax.inference import detector_file, exported
from gcad_jax.inference.detector import Detector
from gcad_jax.inference.predict_folder import OutputOptions, write_predictions

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = as_path(tmp_path_factory.mktemp("onnx") / "blue.onnx")
    _, parity = exported.write_export(
        Detector(judged(), 2), file, 0.1, form=exported.ONNX
    )
    assert parity.small
    return file


def test_it_says_what_predict_says_of_any_size_and_number(file):
    ours, theirs = Detector(judged(), 2), gcad_jax.load(file)
    for expected, found in zip(
        ours.predict(images(9, 1), 0.1), theirs.predict(images(9, 1), 0.1), strict=True
    ):
        assert found.score == pytest.approx(expected.score, rel=1e-5)
        assert found.anomalous == expected.anomalous
        assert found.p_value == expected.p_value
        assert set(found.network_maps) == set(expected.network_maps)
        np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, atol=1e-5)
    about = json.loads(file.with_name("blue.onnx.json").read_text())
    said = theirs._session.get_modelmeta().custom_metadata_map
    assert json.loads(said["threshold"]) == about["threshold"] == 0.9
    assert set(about["results"]) == {x.name for x in theirs._session.get_outputs()}


def test_a_folder_of_images_has_the_same_files(file, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    paths = {}
    for place, image in enumerate(images(3)):
        path = as_path(tmp_path / f"{place}.png")
        Image.fromarray(np.squeeze(image)).save(path)
        paths[str(place)] = path
    written = []
    for name, detector in (
        ("ours", Detector(judged(), 2)),
        ("theirs", gcad_jax.load(file, batch_size=2)),
    ):
        folder = as_path(tmp_path / name)
        write_predictions(detector, paths, folder, OutputOptions(0.1))
        names = sorted(
            str(p.relative_to(folder)) for p in pathlib.Path(folder).rglob("*")
        )
        with open(folder / "scores.csv") as scores:
            written.append((names, list(csv.DictReader(scores))))
    (ours, expected), (theirs, found) = written
    assert ours == theirs
    for row, other in zip(expected, found, strict=True):
        assert float(other.pop("score")) == pytest.approx(float(row.pop("score")))
        maximum = float(row.pop("map_maximum"))
        assert float(other.pop("map_maximum")) == pytest.approx(maximum)
        assert row == other


@pytest.mark.parametrize("sides", [(1, 5), (31, 400), (257, 255), (300, 40), (32, 32)])
def test_the_zoom_is_that_of_pillow_to_the_bit_and_back_that_of_numpy(sides):
    from onnx import helper

    from gcad_jax.inference.onnx_detector import open_session
    from gcad_jax.inference.onnx_export.graph import Graph
    from gcad_jax.inference.onnx_export.zoom import zoom_images, zoom_maps

    graph, size = Graph(), (32, 48)
    results = [zoom_images(graph, "x", size), zoom_maps(graph, "m", size, "x")]
    inputs = [
        ("x", np.dtype(np.uint8), ("b", "h", "w", 3)),
        ("m", np.dtype(np.float32), ("b", *size)),
    ]
    shapes = [("b", *size, 3), ("b", "h", "w")]
    dtypes = [np.dtype(np.uint8), np.dtype(np.float32)]
    outputs = list(zip(results, dtypes, shapes, strict=True))
    model = helper.make_model(
        graph.to_proto("zoom", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, *sides, 3), np.uint8)
    maps = rng.random((2, *size), np.float32)
    session = open_session(model.SerializeToString(), "zoom")
    small, large = session.run(None, {"x": pixels, "m": maps})
    for row in range(2):
        np.testing.assert_array_equal(small[row], resize_image(pixels[row], size))
        np.testing.assert_allclose(large[row], upsample(maps[row], *sides), atol=1e-6)


def test_wrong_files_are_refused_in_one_sentence(file, tmp_path, refuse):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(file.read_bytes()[:-200])
    foreign = tmp_path / "foreign.onnx"
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    other = onnx.helper.make_tensor_value_info("y", 1, [1])
    node = onnx.helper.make_node("Neg", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value], [other])
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    foreign.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="is an ONNX model, but no detector"):
        gcad_jax.load(foreign)
    with pytest.raises(UserError, match=r"damaged\.onnx is no ONNX file that"):
        gcad_jax.load(damaged)
    with pytest.raises(UserError, match="category 'nut'"):
        gcad_jax.load(file, category="another")
    output = f"--output={tmp_path / 'again'}"
    said = refuse("export", f"--workdir={file}", output)
    assert "is an exported file; export the workdir" in said


def test_without_the_packages_a_sentence_names_them(file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'gcad_jax\[onnx\]'"):
        gcad_jax.load(file)


def test_what_has_no_counterpart_is_said_and_nothing_is_left(tmp_path, monkeypatch):
    from gcad_jax.inference.onnx_export import convert

    rules = {k: v for k, v in convert.RULES.items() if k != "reduce_max"}
    monkeypatch.setattr(convert, "RULES", rules)
    with pytest.raises(UserError, match=r"an ONNX file: JAX's reduce_max is"):
        exported.write_export(
            Detector(stored(), 2), as_path(tmp_path / "a.onnx"), 0.1, form=exported.ONNX
        )
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_and_two_detectors_are_refused(tmp_path, refuse):
    path = tmp_path / "seed_0.npz"
    detector_file.write_detector(as_path(path), stored())
    output = f"--output={tmp_path / 'a'}"
    said = refuse("export", f"--workdir={path}", output, "--format=tflite")
    assert "tflite" in said
    both = (f"--workdir={path}", "--model=a.onnx", f"--images={tmp_path}", output)
    assert "give one" in refuse("predict", *both)


@pytest.mark.parametrize("border", ["edge", "reflect"])
def test_patches_over_the_border_are_converted(border, tmp_path):
    """A local branch with a U-Net of one level, on every second pixel."""
    method = runs.method(
        image_size=32, branches=("A_loc",), unet_depth=1, border=border, stride=2
    )
    detector = predict.random_detector(method)
    file = as_path(tmp_path / f"{border}.onnx")
    _, parity = exported.write_export(detector, file, 0.1, form=exported.ONNX)
    assert parity.small, parity
