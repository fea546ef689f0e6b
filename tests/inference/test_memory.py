"""What is held of large images while they are predicted, and programs that are kept."""

import dataclasses
import threading

import jax
import pytest
from helpers import doubles
from PIL import Image

from gcad_jax.benchmarks.predict import random_detector
from gcad_jax.core.machine import threads
from gcad_jax.core.machine.threads import FULL_SIZE
from gcad_jax.core.paths import as_path
from gcad_jax.data.images import load_images
from gcad_jax.inference import detector as detectors
from gcad_jax.inference import predict_folder
from gcad_jax.inference.detector import Detector
from gcad_jax.inference.detector_file import write_detector
from gcad_jax.inference.predict_folder import OutputOptions
from gcad_jax.methods.variation_model import VariationModel

SIDES = (600, 500)
PIXELS = SIDES[0] * SIDES[1]
COUNT = 24


@pytest.fixture
def photos(tmp_path):
    image = Image.new("RGB", SIDES, "red")
    paths = {f"{i:02d}": as_path(tmp_path / f"{i:02d}.png") for i in range(COUNT)}
    for path in paths.values():
        image.save(path)
    return paths


@pytest.fixture
def most_read(monkeypatch):
    """How many images are decoded at a time, with 16 cores and room for two."""
    monkeypatch.setattr(threads, "NUM_THREADS", 16)
    monkeypatch.setattr(FULL_SIZE, "limit", 25 * PIXELS)
    now, most, lock = [0], [0], threading.Lock()
    read = detectors.read_pixels

    def count(*arguments):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            return read(*arguments)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(detectors, "read_pixels", count)
    return most


def detector():
    return random_detector(VariationModel(image_size=16))


def test_large_images_are_bounded_in_bytes_whatever_the_cores(
    photos, most_read, tmp_path, monkeypatch
):
    held = []
    hold = FULL_SIZE.hold

    def record(count):
        held.append(count)
        return hold(count)

    monkeypatch.setattr(FULL_SIZE, "hold", record)
    found = predict_folder.write_predictions(
        detector(), photos, as_path(tmp_path / "out"), OutputOptions(0.1)
    )
    assert found.images == COUNT
    assert most_read[0] <= 2
    # Each is read, and its map is written; both at full size.
    assert sorted(held) == [8 * PIXELS] * COUNT + [10 * PIXELS] * COUNT
    assert FULL_SIZE.held == 0


def test_nothing_of_full_size_is_kept_but_what_stream_yields(photos, most_read):
    made = detector()
    kept = [image for image, _ in made.stream(photos.values(), 0.1, lambda x: x[:2])]
    assert {image.shape for image in kept} == {(2, SIDES[0], 3)}
    whole = [image for image, _ in made.stream(photos.values())]
    assert {image.shape for image in whole} == {(SIDES[1], SIDES[0], 3)}
    assert [p.height for p in made.predict([*photos.values()])] == [SIDES[1]] * COUNT


def test_images_of_a_training_are_bounded_too(photos, monkeypatch):
    held = []
    hold = FULL_SIZE.hold
    monkeypatch.setattr(FULL_SIZE, "hold", lambda n: held.append(n) or hold(n))
    images, sizes = load_images([*photos.values()], 16, 3)
    assert images.shape == (COUNT, 16, 16, 3)
    assert sizes == [SIDES[::-1]] * COUNT
    assert held == [10 * PIXELS] * COUNT


def test_the_second_call_compiles_nothing(photos, tmp_path, capsys, monkeypatch):
    # A folder of the test alone; JAX has opened its own before.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "kept"))
    before = jax.config.jax_compilation_cache_dir
    path = as_path(tmp_path / "seed_0.npz")
    write_detector(path, detector().stored)
    told, scores = [], []
    try:
        for _ in range(2):
            predict_folder.predict_folder(
                str(path), str(photos["00"]), str(tmp_path / "out"), OutputOptions(0.1)
            )
            told.append(capsys.readouterr().out)
            scores.append((tmp_path / "out/scores.csv").read_text())
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert ["\ncompiling" in text for text in told] == [True, False]
    assert f"{tmp_path / 'kept'} keeps" in " ".join(told[1].split())
    assert scores[0] == scores[1]


def test_programs_of_other_packages_are_not_kept(tmp_path):
    """Their source may change, and nothing would tell."""
    said = []
    stored = dataclasses.replace(detector().stored, method=doubles.Scored())
    Detector(stored, 1).keep_program(as_path(tmp_path), lambda: said.append(True))
    assert said
    assert not [*tmp_path.iterdir()]
