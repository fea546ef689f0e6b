"""The closed form whole, on images that a small network describes.

Synthetic images of 32 pixels: a disc whose place says what its color is, so that there
is something to learn.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small_classifier
from jax import export

from gcad_jax.core.types import COMBINED, MAP_MAXIMUM
from gcad_jax.data.resize import upsample
from gcad_jax.methods.base import DetectorState, Learned
from gcad_jax.methods.closed_form import ClosedForm, gallery
from gcad_jax.methods.closed_form import method as closed_form
from gcad_jax.methods.closed_form.method import FEATURES_FLOOR, MAP_FLOOR
from gcad_jax.methods.closed_form.scoring import GLOBAL, LOCAL, sum_of_levels
from gcad_jax.methods.common.apply import all_maps, score_images

SIDE, TRAIN, TEST = 32, 6, 5
NOTHING = Learned({}, {})
LOOSE = {"rtol": 2e-3, "atol": 2e-3}  # rounding, in deviations of validation pixels


def discs(count, seed=0, height=SIDE, width=SIDE):
    draw = np.random.default_rng(seed)
    x = draw.integers(90, 110, (count, height, width, 3), dtype=np.uint8)
    for image in x:
        left = draw.integers(2, width - 12)
        image[8:20, left : left + 10] = 255 * left // width, 120, 40
    return x


def method(**fields):
    small = {"image_size": SIDE, "g": 2, "K": 3, "inference_batch_size": 4}
    return ClosedForm(**small | fields)


@functools.cache
def program(of_method):
    return jax.jit(all_maps(of_method))


def scored(of_method, detector, images, devices=(), compiled=None):
    found = score_images(
        of_method, compiled or program(of_method), [detector], images, devices
    )
    return {n: x[0] for n, x in found.maps.items()}, found.image_scores[0]


def fit(of_method, train, validation):
    frozen = of_method.prepare(train)
    return DetectorState(
        frozen, NOTHING, of_method.calibrate(frozen, NOTHING, validation)
    )


def assert_same(found, expected):
    (maps, scores), (expected_maps, expected_scores) = found, expected
    assert list(maps) == list(expected_maps)
    for name in maps:
        np.testing.assert_allclose(maps[name], expected_maps[name], **LOOSE)
    np.testing.assert_allclose(scores, expected_scores, **LOOSE)


TRAINING, VALIDATION, TESTS = discs(TRAIN), discs(4, 1), discs(TEST, 2)
METHODS = {
    "retrieval": method(),
    "memory": method(local="memory", memory_size=20, memory_candidates=60),
}


@pytest.fixture(scope="module", autouse=True)
def _small_network():
    with pytest.MonkeyPatch.context() as patch:
        small_classifier.stand_in(patch, "efficientnet_lite0")
        yield


@functools.cache
def fitted_by(name):
    return METHODS[name], fit(METHODS[name], TRAINING, VALIDATION)


@pytest.fixture(scope="module", params=METHODS)
def fitted(request):
    return fitted_by(request.param)


@pytest.fixture(scope="module")
def result(fitted):
    return scored(*fitted, TESTS)


@pytest.fixture(scope="module")
def retrieval():
    return fitted_by("retrieval")


# -- scores --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raw_validation(fitted):
    of_method, detector = fitted
    x = jnp.asarray(VALIDATION / 255, jnp.float32)
    return jax.device_get(jax.jit(of_method._raw)(detector.frozen, x))


def normalized(values, pair):
    return (np.float64(values) - float(pair["mu"])) / float(pair["sigma"])


def test_validation_pixels_of_each_branch_have_mean_0_and_deviation_1(
    fitted, raw_validation
):
    pairs = fitted[1].calibration
    maps, distances = raw_validation
    levels = [name for name in maps if name != GLOBAL]
    assert len(levels) == (1 if fitted[0].local == "memory" else 4)
    branches = {
        GLOBAL: normalized(maps[GLOBAL], pairs[GLOBAL]),
        LOCAL: normalized(sum_of_levels(maps, pairs), pairs[LOCAL]),
        "features": normalized(distances, pairs["features"]),
        **{name: normalized(maps[name], pairs[name]) for name in levels},
    }
    combined = float(pairs["w"]) * branches[GLOBAL]
    combined = combined + (1 - float(pairs["w"])) * branches[LOCAL]
    # The maximum that decides is that of the map at the size of the image.
    maxima = [upsample(values, SIDE, SIDE).max() for values in combined]
    branches["map"] = normalized(np.array(maxima), pairs["map"])
    assert set(branches) | {"w"} == set(pairs)
    for name, values in branches.items():
        np.testing.assert_allclose(values.mean(), 0, atol=2e-3)
        # The parts of the image's score are divided by no less than a floor.
        floored = name in ("map", "features") and values.std() < 0.998
        if floored:
            floor = MAP_FLOOR if name == "map" else FEATURES_FLOOR * distances.mean()
            np.testing.assert_allclose(float(pairs[name]["sigma"]), floor, rtol=1e-3)
        else:
            np.testing.assert_allclose(values.std(), 1, rtol=2e-3)


def test_maps_are_the_weighed_branches_at_the_size_of_the_image(fitted, result):
    pairs = fitted[1].calibration
    maps, _ = result
    assert list(maps) == [LOCAL, GLOBAL, COMBINED]
    assert all(x.shape == (TEST, SIDE, SIDE) for x in maps.values())
    w = float(pairs["w"])
    np.testing.assert_allclose(
        maps[COMBINED], w * maps[GLOBAL] + (1 - w) * maps[LOCAL], rtol=1e-4, atol=1e-4
    )


def test_maps_of_validation_images_are_the_normalized_ones(fitted, raw_validation):
    of_method, detector = fitted
    maps, _ = scored(of_method, detector, VALIDATION)
    expected = normalized(raw_validation[0][GLOBAL], detector.calibration[GLOBAL])
    for found, grid in zip(maps[GLOBAL], expected, strict=True):
        np.testing.assert_allclose(found, upsample(grid, SIDE, SIDE), **LOOSE)


def test_image_scores_are_of_the_map_and_of_the_features(fitted, result):
    of_method, detector = fitted
    maps, scores = result
    x = jnp.asarray(TESTS / 255, jnp.float32)
    _, distances = jax.jit(of_method._raw)(detector.frozen, x)
    pairs = detector.calibration
    expected = normalized(maps[COMBINED].max(axis=(1, 2)), pairs["map"])
    expected += normalized(distances, pairs["features"])
    np.testing.assert_allclose(scores, expected, **LOOSE)
    assert of_method.image_score_name not in (MAP_MAXIMUM, "")


def test_image_score_map_is_the_maximum(retrieval):
    of_method, detector = retrieval
    of_map = dataclasses.replace(of_method, image_score="map")
    assert of_map.image_score_name == MAP_MAXIMUM
    maps, scores = scored(of_map, detector, TESTS)
    np.testing.assert_array_equal(scores, maps[COMBINED].max(axis=(1, 2)))


def test_parts_of_score_are_what_the_protocol_asks_for(fitted, result):
    of_method, detector = fitted

    @jax.jit
    def parts(detector, x):
        combined = of_method.anomaly_map(detector, x)
        branches = of_method.branch_maps(detector, x)
        scores = of_method.image_scores(detector, x, combined)
        return {**branches, COMBINED: combined}, scores

    x = jnp.asarray(TESTS / 255, jnp.float32)
    maps, scores = parts(detector, x)
    assert_same(({name: maps[name] for name in result[0]}, scores), result)


def test_a_weight_that_is_set_is_that_of_the_global_branch(retrieval):
    of_method, detector = retrieval
    alone = dataclasses.replace(of_method, w=0.0)
    calibration = alone.calibrate(detector.frozen, NOTHING, VALIDATION)
    assert float(calibration["w"]) == 0
    without = detector.replace(calibration=calibration)
    # The program is that of the method without w: it stands in the detector.
    maps, _ = scored(of_method, without, TESTS)
    np.testing.assert_array_equal(maps[COMBINED], maps[LOCAL])
    # What the maximum of the map is normalized by is that of the map so weighed.
    validation, _ = scored(of_method, without, VALIDATION)
    assert calibration["map"]["mu"] != detector.calibration["map"]["mu"]
    highest = validation[COMBINED].max(axis=(1, 2)).mean()
    assert highest == pytest.approx(float(calibration["map"]["mu"]), rel=1e-3)
    whole = detector.replace(calibration=detector.calibration | {"w": jnp.float32(1)})
    maps, _ = scored(of_method, whole, TESTS)
    np.testing.assert_array_equal(maps[COMBINED], maps[GLOBAL])


@pytest.mark.parametrize(
    ("explained", "w"), [(-0.3, 0.0), (0.0, 0.0), (0.2, 0.2), (0.5, 0.5), (0.9, 0.5)]
)
def test_the_weight_is_the_explained_variance_and_at_most_a_half(explained, w):
    frozen = {"ridge": {"explained_variance": jnp.float32(explained)}}
    assert float(method()._weight(frozen)) == pytest.approx(w)
    assert float(method(w=0.7)._weight(frozen)) == pytest.approx(0.7)


@pytest.mark.parametrize(("explained", "says"), [(0.748, "75 %"), (-0.3, "0 %")])
def test_a_report_says_what_was_fitted(fitted, explained, says):
    of_method, detector = fitted
    ridge = detector.frozen["ridge"] | {"explained_variance": jnp.float32(explained)}
    detector = detector.replace(frozen=dict(detector.frozen) | {"ridge": ridge})
    variance, weights = of_method.describe_fit(detector)
    means = f"2 numbers of each of {TRAIN} images and the mean of each place"
    assert f"{means}, explains {says} of" in variance
    w = float(detector.calibration["w"])
    assert f"A = {w:.2f} A_glo + {1 - w:.2f} A_loc" in weights
    assert "w is by the explained variance" in weights
    chosen = dataclasses.replace(of_method, w=0.1).describe_fit(detector)[1]
    assert "w is set" in chosen


def test_what_is_anomalous_scores_high(monkeypatch):
    """A black square where good images have none, to the weights of ImageNet."""
    small_classifier.put_back(monkeypatch, "efficientnet_lite0")
    of_method = method()
    detector = fit(of_method, TRAINING, VALIDATION)
    spoilt = TESTS.copy()
    spoilt[:, 22:30, 20:30] = 0
    good, _ = scored(of_method, detector, TESTS)
    bad, scores = scored(of_method, detector, spoilt)
    assert scores.min() > 2
    raised = bad[COMBINED] - good[COMBINED]
    assert raised[:, 22:30, 20:30].mean() > 3 * np.abs(raised[:, :12, :12]).mean()


# -- where there must be no difference -------------------------------------------------


@pytest.mark.parametrize("size", [1, 2])
def test_batches_change_nothing(fitted, result, size):
    """Three at once are the expected ones; the last batch of two is filled up."""
    of_method, detector = fitted
    resized = dataclasses.replace(of_method, inference_batch_size=size)
    compiled = program(of_method)
    assert_same(scored(resized, detector, TESTS, compiled=compiled), result)


def test_batches_of_the_fit_change_nothing(retrieval):
    of_method, detector = retrieval
    resized = dataclasses.replace(of_method, inference_batch_size=3)
    other = fit(resized, TRAINING, VALIDATION)
    expected = scored(of_method, detector, TESTS)
    assert_same(scored(of_method, other, TESTS), expected)


def test_the_order_of_the_training_images_changes_nothing(retrieval):
    of_method, detector = retrieval
    order = np.random.default_rng(0).permutation(TRAIN)
    other = fit(of_method, TRAINING[order], VALIDATION[::-1])
    assert_same(scored(of_method, other, TESTS), scored(of_method, detector, TESTS))


@pytest.mark.parametrize("count", [2, 4])
def test_devices_share_the_images(fitted, result, count):
    of_method, detector = fitted
    assert_same(scored(of_method, detector, TESTS, jax.devices()[:count]), result)


def test_devices_share_the_fit(monkeypatch, retrieval):
    of_method, detector = retrieval
    for module in (closed_form, gallery):
        monkeypatch.setattr(module, "accelerators", lambda: jax.devices()[:4])
    other = fit(of_method, TRAINING, VALIDATION)
    monkeypatch.undo()
    assert_same(scored(of_method, other, TESTS), scored(of_method, detector, TESTS))


def test_an_exported_program_takes_any_batch(fitted, result):
    of_method, detector = fitted
    shape = export.symbolic_shape(f"b, {SIDE}, {SIDE}, 3")
    exported = export.export(jax.jit(of_method.score_all))(
        detector, jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    for count in (1, TEST):
        found = exported.call(detector, jnp.asarray(TESTS[:count] / 255, jnp.float32))
        expected = {name: x[:count] for name, x in result[0].items()}
        maps = {name: found.maps[name] for name in expected}
        assert_same((maps, found.image_scores), (expected, result[1][:count]))


def test_a_training_image_is_at_no_distance_from_itself(retrieval):
    of_method, detector = retrieval
    x = jnp.asarray(TRAINING / 255, jnp.float32)
    maps, _ = jax.jit(of_method._raw)(detector.frozen, x)
    for name in ("level_0", "level_1", "level_2", "level_3"):
        # To the rounding of the gallery, which is float16.
        np.testing.assert_allclose(maps[name], 0, atol=0.05)


@pytest.mark.long
def test_images_need_not_be_square(monkeypatch):
    small_classifier.put_back(monkeypatch, "efficientnet_lite0")
    of_method = method(image_size=(64, 96))
    train, tests = discs(4, 0, 64, 96), discs(2, 1, 64, 96)
    detector = fit(of_method, train, tests)
    assert detector.frozen["ridge"]["mean"].shape[:2] == (8, 12)
    maps, scores = scored(of_method, detector, tests)
    assert maps[COMBINED].shape == (2, 64, 96)
    # A defect at the right edge is found there, and not where a square would put it.
    spoilt = tests.copy()
    spoilt[:, 40:60, 80:] = (255, 0, 255)
    bad, _ = scored(of_method, detector, spoilt)
    places = np.unravel_index(
        (bad[LOCAL] - maps[LOCAL]).reshape(2, -1).argmax(axis=1), (64, 96)
    )
    assert np.all((places[0] >= 36) & (places[1] >= 76))
    assert np.all(np.isfinite(scores))


def test_the_seed_of_the_memory_changes_the_memory_alone():
    of_method, detector = fitted_by("memory")
    other = dataclasses.replace(of_method, memory_seed=5).prepare(TRAINING)
    frozen = dict(detector.frozen)
    assert "gallery" not in frozen
    assert np.any(frozen.pop("memory") != other.pop("memory"))
    jax.tree.map(np.testing.assert_array_equal, frozen, other)
