"""`python -m gcad_jax.export`: a detector that JAX runs without this package."""

import dataclasses
import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import runs
from inference.test_detector import images, judged, stored
from jax import export

import gcad_jax
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path
from gcad_jax.inference import detector_file, export_check, exported
from gcad_jax.inference.detector import Detector
from gcad_jax.inference.export_check import ExportDifference
from gcad_jax.methods.base import DetectorState, Learned

# Runs the Python of docs/export.md where there is little but JAX, and asks further.
ELSEWHERE = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("gcad_jax", "flax", "optax", "etils", "PIL"):
            raise ImportError(name)

sys.meta_path.insert(0, Without())
_, page, given, answers = sys.argv
exec(open(page).read())
found = [detect(images) for images in np.load(given).values()]
np.savez(answers, **{f"{k}_{i}": v for i, f in enumerate(found) for k, v in f.items()})
"""
PAGE = (runs.ROOT / "docs/export.md").read_text()


def process(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=runs.ROOT,
        env=runs.environment() | {"PYTHONPATH": str(runs.ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    detector_file.write_detector(
        detector_file.detector_path(folder / "run/nut", 3), stored()
    )
    return folder


@pytest.fixture(scope="module")
def done(folder):
    done = process(
        *("-m", "gcad_jax.export", f"--workdir={folder / 'run'}"),
        *(f"--output={folder / 'out/nut.jax'}", "--fpr=0.1"),
    )
    assert done.returncode == 0, done.stderr
    return done


def test_elsewhere_it_says_what_predict_says(done, folder):
    batches = {
        "of_one": np.stack(images(1)),
        "of_three": np.stack([images(9, seed)[4] for seed in (1, 1, 1)]),
    }
    batches["of_three"][1] = 255
    np.savez(folder / "images.npz", **batches)
    script = folder / "elsewhere.py"
    script.write_text(ELSEWHERE)
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert '"mine.jaxexport"' in code
    page = code.replace('"mine.jaxexport"', repr(str(folder / "out/nut.jax")))
    (folder / "page.py").write_text(page)
    names = ("page.py", "images.npz", "answers.npz")
    answered = process(script, *(folder / name for name in names))
    assert answered.returncode == 0, answered.stderr
    assert answered.stderr == ""
    assert answered.stdout == "[0.] [False] [1.]\n"  # of a black image
    detector = gcad_jax.load(folder / "run")
    with np.load(folder / "answers.npz") as answers:
        for place, batch in enumerate(batches.values()):
            found = {n: answers[f"{n}_{place}"] for n in result_names()}
            assert found["threshold"] == np.float32(1.8)
            for row, want in enumerate(detector.predict(list(batch), fpr=0.1)):
                assert found["score"][row] == pytest.approx(want.score, rel=1e-6)
                assert found["anomalous"][row] == want.anomalous
                assert found["p_value"][row] == pytest.approx(want.p_value, rel=1e-6)
                np.testing.assert_allclose(
                    found["anomaly_map"][row], want.anomaly_map, atol=1e-5
                )
        assert set(answers["anomalous_1"]) == {False, True}


def result_names():
    return exported.describe_export(stored(), 0.1)["results"]


def test_what_stands_beside_it(done, folder):
    about = json.loads((folder / "out/nut.jax.json").read_text())
    assert about["threshold"] == 1.8  # 36 of the 39 scores i/20
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    assert about["jax"] == jax.__version__
    assert about["bytes"] == (folder / "out/nut.jax").stat().st_size
    assert 0 <= about["parity"]["maps"] <= export_check.LIMIT
    assert about["parity"]["images"] == 3
    loaded = export.deserialize((folder / "out/nut.jax").read_bytes())
    assert loaded.platforms == exported.PLATFORMS
    assert f"{about['parity']['maps']:.1e} of the range" in done.stdout
    assert "seed 3" in done.stdout
    assert runs.leftovers(folder) == []


def test_a_score_of_the_method_is_exported_and_the_maximum_stands_beside_it(tmp_path):
    detector, file = Detector(judged(), 2), as_path(tmp_path / "blue.jax")
    _, parity = exported.write_export(detector, file, 0.1)
    assert parity.small
    about = json.loads((tmp_path / "blue.jax.json").read_text())
    assert about["image_score"] == "mean of blue"
    assert (about["threshold"], about["map_threshold"]) == (0.9, 1.8)
    detect = export.deserialize(file.read_bytes()).call
    batch = np.stack([images(9, 1)[4], np.zeros_like(images(9, 1)[4])])
    found = detect(batch)
    assert set(found) == set(about["results"])
    assert found["threshold"] == np.float32(0.9)
    assert found["map_threshold"] == np.float32(1.8)
    for row, want in enumerate(detector.predict(list(batch), fpr=0.1)):
        assert found["score"][row] == pytest.approx(want.score, rel=1e-5)
        assert found["map_maximum"][row] == pytest.approx(want.map_maximum, rel=1e-5)
        assert found["anomalous"][row] == want.anomalous
        assert found["p_value"][row] == pytest.approx(want.p_value, rel=1e-6)
    assert found["score"][0] != pytest.approx(found["map_maximum"][0])


def test_a_file_without_scores_of_the_method_exports_the_maximum():
    method = judged().method
    names = exported.describe_export(stored(method), 0.1)["results"]
    assert "map_maximum" not in names
    batch = np.stack(images(1))
    found = exported.detection_program(stored(method), 0.1)(batch)
    assert set(found) == set(names)
    of_map = exported.detection_program(stored(), 0.1)(batch)
    np.testing.assert_array_equal(found["score"], of_map["score"])


def test_one_that_differs_is_not_written(tmp_path, monkeypatch):
    """The exported file of one detector against another, of a hundredth more."""
    right = stored()
    frozen = {**right.detector.frozen, "weight": np.float32(2.02)}
    other = dataclasses.replace(right, detector=right.detector.replace(frozen=frozen))
    original = exported.export_detector
    monkeypatch.setattr(
        exported, "export_detector", lambda _, fpr: original(other, fpr)
    )
    with pytest.raises(UserError, match=r"differs from predict by 1\.6e-02 of the"):
        exported.write_export(Detector(right, 2), as_path(tmp_path / "a.jax"), 0.1)
    assert list(tmp_path.iterdir()) == []
    assert not ExportDifference(float("nan"), 0.0, 1).small


def test_one_that_is_too_large_is_refused_before_anything_is_done():
    gallery = np.broadcast_to(np.float32(0), (575_000_000,))
    detector = DetectorState({"gallery": gallery}, Learned({}, {}), {})
    large = dataclasses.replace(stored(), detector=detector)
    with pytest.raises(UserError, match=r"nut holds 2\.3 GB of arrays.* at most 2 GB"):
        exported.export_detector(large, 0.1)


def test_a_file_is_not_written_over_a_folder(folder, refuse):
    run = folder / "run"
    said = refuse("export", f"--workdir={run}", f"--output={run}")
    assert f"--output={folder} cannot be written" in said
    assert "run is a folder, where a result must be" in said
