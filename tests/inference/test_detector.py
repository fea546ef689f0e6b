"""A detector as a file, and what `gcad_jax.load` makes of it."""

import dataclasses
import pathlib
import subprocess
import sys
from typing import ClassVar

import jax
import numpy as np
import pytest
from helpers import doubles, runs
from PIL import Image

import gcad_jax
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.threads import Scratch
from gcad_jax.core.types import COMBINED, MAP_MAXIMUM
from gcad_jax.data.resize import resize_image, upsample
from gcad_jax.inference import detector as detectors
from gcad_jax.inference import detector_file
from gcad_jax.inference.detector import Detector
from gcad_jax.inference.detector_file import DetectorFile, Scale
from gcad_jax.methods.base import DetectorState
from gcad_jax.models.io.npz import read_weights, write_weights

SIDE = doubles.SIDE


@dataclasses.dataclass(eq=False)
class Red(doubles.Scored):
    """Its map is the red of the image, times a weight, so that all is known."""

    def anomaly_map(self, detector, images):
        return images[..., 0] * detector.frozen["weight"]

    def branch_maps(self, detector, images):
        return {"B": images[..., 1] - detector.calibration["mu"]}

    @property
    def branches(self):
        return ("B",)


@dataclasses.dataclass(eq=False)
class RedJudgedByBlue(Red):
    """`Red` whose image score is how blue the whole image is, times the weight."""

    image_score_name: ClassVar[str] = "mean of blue"

    def image_scores(self, detector, images, combined):
        del combined
        return images[..., 2].mean(axis=(1, 2)) * detector.frozen["weight"]


def stored(method=None, **fields):
    method = method or Red()
    learned = method.init(jax.random.key(0))
    frozen = {"weight": np.float32(2), "deep": {"er": np.arange(3)}}
    detector = DetectorState(frozen, learned, {"mu": np.float32(0.25)})
    validation = tuple(i / 20 for i in range(1, 40))
    scales = {"B": Scale(0.1, validation), COMBINED: Scale(0.2, validation)}
    size = (SIDE, SIDE)
    return DetectorFile(method, detector, "set", "nut", 3, scales, size, **fields)


def judged():
    """A detector with an image score of its own: by it half of the images are above."""
    scores = tuple(i / 40 for i in range(1, 40))
    return stored(RedJudgedByBlue(), method_scores=scores)


@pytest.fixture
def workdir(tmp_path):
    detector_file.write_detector(
        detector_file.detector_path(tmp_path / "nut", 3), stored()
    )
    return tmp_path


def images(count, seed=0):
    """Of many sizes; the last is white, the most anomalous that there is."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, (count, 2))
    drawn = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]
    drawn[-1][:] = 255
    return drawn


def test_a_file_gives_back_what_was_written(workdir):
    before, after = (
        stored(),
        detector_file.read_detector(workdir / "nut/detectors/seed_3.npz"),
    )
    assert type(after.method) is Red
    assert after.method.image_size == SIDE
    assert (after.dataset, after.category, after.seed) == ("set", "nut", 3)
    assert after.scales == before.scales
    assert list(after.scales) == ["B", COMBINED]
    assert jax.tree.structure(before.detector) == jax.tree.structure(after.detector)
    for one, other in zip(
        *map(jax.tree.leaves, (before.detector, after.detector)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_scale_of_maps():
    maps = np.array([[[1.0, 2], [3, 4]], [[5, 6], [7, 0]]])
    assert Scale.of(maps) == Scale(3.5, (4.0, 7.0))


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_maps_and_scores_are_those_of_each_image(workdir, batch_size):
    given = images(9)
    found = gcad_jax.load(workdir, batch_size=batch_size).predict(given)
    assert {one.anomalous for one in found} == {False, True}
    for image, prediction in zip(given, found, strict=True):
        small = resize_image(image, SIDE).astype(np.float32) / 255
        np.testing.assert_allclose(
            prediction.network_maps[COMBINED], 2 * small[..., 0], atol=1e-6
        )
        np.testing.assert_allclose(
            prediction.network_maps["B"], small[..., 1] - 0.25, atol=1e-6
        )
        expected = upsample(2 * small[..., 0], *image.shape[:2], Scratch())
        np.testing.assert_allclose(prediction.anomaly_map, expected, atol=1e-6)
        assert prediction.anomaly_map.shape == image.shape[:2]
        assert prediction.score == pytest.approx(2 * small[..., 0].max())
        # 38 of the 39 validation scores i/20 lie at or below 1.9.
        assert prediction.anomalous == (prediction.score > 1.9)


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_a_score_of_the_method_decides_and_the_map_keeps_its_own_threshold(
    tmp_path, batch_size
):
    path = detector_file.detector_path(tmp_path / "nut", 3)
    detector_file.write_detector(path, judged())
    assert detector_file.read_detector(path).method_scores == judged().method_scores
    detector = gcad_jax.load(tmp_path, batch_size=batch_size)
    assert detector.image_score_name == "mean of blue"
    assert detector.validation_scores == judged().method_scores
    # At 5 % the 38th of 39 scores: i/40 of the method, i/20 of the map.
    assert (detector.threshold(), detector.map_threshold()) == (0.95, 1.9)
    given = images(9)
    found = detector.predict(given)
    for image, prediction in zip(given, found, strict=True):
        small = resize_image(image, SIDE).astype(np.float32) / 255
        assert prediction.score == pytest.approx(2 * small[..., 2].mean(), rel=1e-5)
        assert prediction.map_maximum == pytest.approx(2 * small[..., 0].max())
        assert prediction.anomalous == (prediction.score > 0.95)
        higher = sum(score >= prediction.score for score in judged().method_scores)
        assert prediction.p_value == pytest.approx((1 + higher) / 40)
    assert {one.anomalous for one in found} == {False, True}
    of_map = Detector(stored(), batch_size).predict(given)
    assert [one.anomalous for one in found] != [one.anomalous for one in of_map]


def test_a_file_without_scores_of_the_method_is_decided_by_the_maximum(tmp_path):
    """Such as one of an earlier version of a method that has a score of its own now."""
    path = detector_file.detector_path(tmp_path / "nut", 3)
    detector_file.write_detector(path, stored(RedJudgedByBlue()))
    detector, of_map = gcad_jax.load(tmp_path), Detector(stored(), 8)
    assert detector.image_score_name == MAP_MAXIMUM
    assert detector.threshold() == detector.map_threshold() == 1.9
    for one, other in zip(
        *(d.predict(images(9)) for d in (detector, of_map)), strict=True
    ):
        assert one.score == one.map_maximum == other.score
        assert (one.anomalous, one.p_value) == (other.anomalous, other.p_value)


def test_scores_that_the_method_cannot_give_are_refused(tmp_path):
    path = detector_file.detector_path(tmp_path / "nut", 3)
    detector_file.write_detector(path, stored(method_scores=(0.5, 1.0)))
    with pytest.raises(UserError, match="image scores of its own"):
        gcad_jax.load(path)


def test_any_number_of_images_of_any_size_compiles_once(workdir):
    detector = gcad_jax.load(workdir)
    compiled = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        assert len(detector.predict(images(30))) == 30
        assert len(detector.predict(images(3, 1))) == 3
    finally:
        jax.monitoring.clear_event_listeners()
    assert len(compiled) == 1


def test_making_batches_costs_the_same_for_each_item():
    """Calls are counted: a list of unreadable files is looked through once."""

    def num_calls(count):
        items = iter([UserError("damaged")] * count)
        calls = []
        sys.setprofile(lambda frame, event, function: calls.append(event))
        try:
            batches = list(detectors._batches(items, 8))
        finally:
            sys.setprofile(None)
        assert list(map(len, batches)) == [count]
        return len(calls)

    assert num_calls(400) < 2.2 * num_calls(200)


def test_a_batch_is_full_when_enough_of_it_could_be_read():
    bad = UserError("damaged")
    batches = list(detectors._batches(iter([bad, 1, 2, bad, 3, 4, bad, 5, bad]), 2))
    assert batches == [[bad, 1, 2], [bad, 3, 4], [bad, 5, bad]]


def test_files_arrays_and_gray_give_the_same(workdir, tmp_path):
    image = images(2)[0]
    Image.fromarray(image).save(tmp_path / "a.png")
    gray = image[..., 0]
    detector = gcad_jax.load(workdir)
    of_file, of_array = detector.predict([tmp_path / "a.png", image])
    assert of_file.score == of_array.score
    for same in (Image.fromarray(image), jax.numpy.asarray(image)):
        assert detector.predict([same])[0].score == of_array.score
    with pytest.raises(UserError, match="NoneType"):
        detector.predict([None])
    for one in (gray, gray[..., None]):
        assert detector.predict([one])[0].score == pytest.approx(of_array.score)


def test_one_that_cannot_be_read_raises_or_is_passed_over(workdir, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    given = [*images(5), tmp_path / "a.png", *images(5, 1)]
    detector = gcad_jax.load(workdir)
    with pytest.raises(UserError, match=r"a\.png"):
        detector.predict(given)
    found = list(detector.stream(given))
    assert [type(f) is UserError for _, f in found] == [i == 5 for i in range(11)]
    alone = detector.predict([*given[:5], *given[6:]])
    others = [f for _, f in found if not isinstance(f, UserError)]
    assert [f.score for f in others] == [f.score for f in alone]
    assert next(detector.stream([tmp_path / "a.png"]))[0] is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4, 4), np.uint8), "(4, 4, 4)"),
        (np.zeros((0, 4), np.uint8), "(0, 4)"),
    ],
)
def test_other_arrays_are_refused(workdir, given, said):
    with pytest.raises(UserError) as error:
        gcad_jax.load(workdir).predict([given])
    assert said in str(error.value)


@pytest.mark.parametrize("given", ["a.png", np.zeros((4, 4), np.uint8)])
def test_one_image_is_no_sequence(workdir, given):
    with pytest.raises(UserError, match="single image"):
        gcad_jax.load(workdir).predict(given)


def test_which_detector(workdir):
    path = workdir / "nut/detectors/seed_3.npz"
    for place in (workdir, workdir / "nut", path):
        assert gcad_jax.load(place).stored.seed == 3
    detector_file.write_detector(
        detector_file.detector_path(workdir / "nut", 1),
        dataclasses.replace(stored(), seed=1),
    )
    assert gcad_jax.load(workdir).stored.seed == 1
    assert gcad_jax.load(workdir, seed=3).stored.seed == 3
    bolt = dataclasses.replace(stored(), category="bolt")
    detector_file.write_detector(detector_file.detector_path(workdir / "bolt", 3), bolt)
    with pytest.raises(UserError, match="bolt, nut"):
        gcad_jax.load(workdir)
    with pytest.raises(UserError, match="''"):
        gcad_jax.load(workdir, "")
    with pytest.raises(UserError, match="the seed 3, not 9"):
        gcad_jax.load(path, seed=9)
    assert gcad_jax.load(workdir, "bolt").stored.seed == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"category": "nuts"}, "Did you mean 'nut'?"),
        ({"seed": 0}, "there are 3"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_what_there_is_not(workdir, arguments, said):
    with pytest.raises(UserError) as error:
        gcad_jax.load(workdir, **arguments)
    assert said in str(error.value)


def test_no_workdir_and_one_without_detectors(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        gcad_jax.load(tmp_path / "a")
    with pytest.raises(UserError, match="write_detectors"):
        gcad_jax.load(tmp_path)


def test_a_damaged_or_foreign_file_is_a_sentence(workdir):
    path = workdir / "nut/detectors/seed_3.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        gcad_jax.load(path)
    at = whole.index(b"teacher") if b"teacher" in whole else len(whole) // 3
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(UserError, match=r"damaged|readable"):
        gcad_jax.load(path)
    weights = pathlib.Path(gcad_jax.__file__).parent / "models/weights"
    with pytest.raises(UserError, match="no detector"):
        gcad_jax.load(weights / "E_loc_17_32.npz")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("class", "os:system", "system is no dataclass"),
        ("class", "gcad_jax.reporting.plots.overlay:Heat", "Heat is no method"),
        ("scales", {}, "damaged"),
        ("method", None, "damaged"),
        ("dataset", ..., "damaged"),
    ],
)
def test_a_header_that_is_not_whole_is_refused(workdir, field, value, said):
    path = workdir / "nut/detectors/seed_3.npz"
    header, arrays = read_weights(path)
    header[field] = value
    kept = {name: part for name, part in header.items() if part is not ...}
    write_weights(path, kept, arrays)
    with pytest.raises(UserError, match=said):
        gcad_jax.load(path)


def test_a_method_that_is_not_installed_is_named(workdir, monkeypatch):
    monkeypatch.delattr(sys.modules[Red.__module__], "Red")
    with pytest.raises(UserError, match="Red"):
        gcad_jax.load(workdir)


def test_the_package_is_imported_without_jax():
    code = "import sys, gcad_jax; sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=runs.environment())
    assert done.returncode == 0
    with pytest.raises(AttributeError, match="nothing"):
        gcad_jax.nothing  # noqa: B018
