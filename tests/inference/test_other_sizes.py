"""Detectors whose images are no squares: their files, predictions and exports."""

import dataclasses

import numpy as np
import pytest
from inference.test_detector import SIDE, Red, images, stored
from jax import export
from PIL import Image

import gcad_jax
from gcad_jax.core.types import COMBINED
from gcad_jax.data.resize import resize_image, upsample
from gcad_jax.inference import detector_file, export_check, exported
from gcad_jax.inference.detector import Detector
from gcad_jax.inference.detector_file import DetectorFile
from gcad_jax.methods.base import DetectorState, Learned
from gcad_jax.methods.spade import SPADE
from gcad_jax.models.io.npz import read_weights, write_weights

SIZES = [(8, 24), (24, 8), (7, 5)]


def sized(size):
    return dataclasses.replace(stored(), image_size=size)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_keeps_the_size_and_images_are_zoomed_to_it(tmp_path, size):
    path = detector_file.detector_path(tmp_path / "nut", 3)
    detector_file.write_detector(path, sized(size))
    detector = gcad_jax.load(tmp_path)
    assert detector.stored.image_size == size
    given = images(9)
    for image, found in zip(given, detector.predict(given), strict=True):
        small = 2 * resize_image(image, size)[..., 0].astype(np.float32) / 255
        assert found.network_maps[COMBINED].shape == size
        np.testing.assert_allclose(found.network_maps[COMBINED], small, atol=1e-6)
        expected = upsample(small, *image.shape[:2])
        np.testing.assert_allclose(found.anomaly_map, expected, atol=1e-6)
        assert (found.height, found.width) == image.shape[:2]
        assert found.score == pytest.approx(small.max())


def test_a_file_without_a_size_is_of_squares(tmp_path):
    """Those of version 0.1.0."""
    path = detector_file.detector_path(tmp_path / "nut", 3)
    detector_file.write_detector(path, stored())
    header, arrays = read_weights(path)
    assert header["image_size"] == [SIDE, SIDE]
    del header["image_size"]
    write_weights(path, header, arrays)
    assert detector_file.read_detector(path).image_size == (SIDE, SIDE)
    assert type(detector_file.read_detector(path).method) is Red


@pytest.mark.parametrize("size", SIZES)
def test_exported_it_says_what_it_says_here(size):
    detector = Detector(sized(size), 2)
    call = export.deserialize(
        exported.export_detector(detector.stored, 0.1).serialize()
    ).call
    batches = [*export_check.sample_batches(size, 3), *(i[None] for i in images(3))]
    assert [batch.shape[1:3] for batch in batches[:2]] == [
        (3 * size[0] // 2 + 1, size[1] + 3),
        (size[0] // 2, size[1]),
    ]
    found = export_check.compare_with_predict(call, detector, batches)
    assert found.images == 6
    assert found.small, found


def spade_detector(size):
    """SPADE of random images, and the maps of its validation images."""
    method = SPADE(
        image_size=size,
        weights="random",
        d_loc=8,
        E_loc_width=1 / 16,
        K=2,
        inference_batch_size=2,
    )
    method.validate()
    pixels = np.random.default_rng(0).integers(0, 256, (4, *size, 3), np.uint8)
    state = DetectorState(method.prepare(pixels), Learned({}, {}), {})
    scale = detector_file.Scale(0.0, tuple(i / 20 for i in range(1, 40)))
    scales = {COMBINED: scale}
    return Detector(DetectorFile(method, state, "set", "nut", 0, scales, size), 2)


def test_spade_writes_reads_and_exports_itself(tmp_path):
    detector = spade_detector((64, 96))
    path = detector_file.detector_path(tmp_path / "nut", 0)
    detector_file.write_detector(path, detector.stored)
    again = gcad_jax.load(path, batch_size=2)
    assert again.stored.method.image_size == (64, 96)
    given = images(3)
    for before, after in zip(
        detector.predict(given), again.predict(given), strict=True
    ):
        np.testing.assert_array_equal(before.anomaly_map, after.anomaly_map)
        assert before.network_maps[COMBINED].shape == (64, 96)
    size, parity = exported.write_export(again, tmp_path / "nut.jaxexport", 0.1, given)
    assert size > 0
    assert parity.small, parity


def test_predict_says_the_size_and_draws_images_as_they_are(tmp_path):
    """An overlay has the aspect of its image, whatever the network's is."""
    from gcad_jax.core.paths import as_path
    from gcad_jax.inference import predict_folder
    from gcad_jax.inference.metadata import as_json

    detector = Detector(sized((8, 24)), 2)
    assert as_json(detector.stored, 0.1)["image_size"] == (8, 24)
    files = {}
    for name, size in {"tall": (120, 60), "wide": (50, 150)}.items():
        files[name] = as_path(tmp_path / f"{name}.png")
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(files[name])
    options = predict_folder.OutputOptions(0.1)
    predict_folder.write_predictions(detector, files, as_path(tmp_path), options)
    for name, (height, width) in {"tall": (480, 240), "wide": (160, 480)}.items():
        sheet = np.asarray(Image.open(tmp_path / f"overlays/{name}.png"))
        black = (sheet == 0).all(axis=-1)  # the input, the first of its panels
        rows, columns = np.flatnonzero(black[:, 20]), np.flatnonzero(black[60])
        assert rows[-1] - rows[0] + 1 == pytest.approx(height, abs=2), name
        assert columns[0] == pytest.approx(6, abs=1), name
        run = np.flatnonzero(~black[60, columns[0] :])[0]
        assert run == pytest.approx(width, abs=2), name
