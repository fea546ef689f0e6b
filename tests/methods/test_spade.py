"""SPADE against a search through all pairs in NumPy, and its backbones."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles, small_classifier
from scipy import ndimage

from gcad_jax.config import presets
from gcad_jax.core.errors import UserError
from gcad_jax.data.image_size import ShortSide
from gcad_jax.data.mvtec_ad import MvtecAd
from gcad_jax.methods.base import DetectorState, Learned
from gcad_jax.methods.spade import SPADE, smooth
from gcad_jax.models.classifiers.classifier import classifier

SIDE = 32
TRAIN, K = 5, 3


@pytest.fixture(scope="module")
def images():
    return doubles.random_images(TRAIN + 2, side=SIDE)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random ones, as `convert` would leave them, of what stands in for MobileNetV2."""
    with pytest.MonkeyPatch.context() as patch:
        small_classifier.stand_in(patch, "mobilenet_v2")
        folder = tmp_path_factory.mktemp("weights")
        yield small_classifier.save(folder / "mobilenet.npz", "mobilenet_v2")


def spade(weights, **fields):
    given = {"backbone": "mobilenet_v2", "weights": weights, "image_size": SIDE, "K": K}
    return SPADE(**given | {"sigma": 0.0, "inference_batch_size": 4, **fields})


def resized(x, shape):
    return np.asarray(jax.image.resize(jnp.asarray(x), shape, "bilinear"))


@functools.cache
def network_maps():
    maps = functools.partial(classifier("mobilenet_v2").maps, until="pooled")
    return jax.jit(maps)


def anomaly_map(method, frozen, images):
    """Of images in [0, 1]."""

    @jax.jit
    def score(frozen, images):
        return method.anomaly_map(DetectorState(frozen, Learned({}, {}), {}), images)

    return score(frozen, jnp.asarray(images, jnp.float32))


def described(method, frozen, images):
    """Pooled features (N, F) and levels (N, h, w, C) of uint8 images, float64."""
    maps = network_maps()(frozen["backbone"], jnp.asarray(images / 255.0, jnp.float32))
    levels = []
    for name, stride in {"stage2": 4, "stage3": 8, "stage5": 16}.items():
        level = np.asarray(maps[name], np.float64)
        step = max(1, method.stride // stride)
        rows = [level[:, i::step, j::step] for i in range(step) for j in range(step)]
        levels.append(sum(rows) / step**2)
    return [np.asarray(maps["pooled"], np.float64), *levels]


def by_hand(method, frozen, train, test):
    """One image (H, W, 3) uint8, with every pair of places compared."""
    of_train = described(method, frozen, train)
    of_test = [features[0] for features in described(method, frozen, test[None])]
    if method.standardized:
        for i, features in enumerate(of_train):
            channels = tuple(range(features.ndim - 1))
            mean, std = features.mean(axis=channels), features.std(axis=channels)
            std = np.maximum(std, 1e-3 * std.mean())  # some channels never change
            of_train[i], of_test[i] = (features - mean) / std, (of_test[i] - mean) / std
    pooled, *levels = of_test
    apart = np.linalg.norm(of_train[0] - pooled, axis=1)
    rows = np.argsort(apart)[: method.K]
    gallery = [[level[row] for level in of_train[1:]] for row in rows]
    if method.combination == "concatenated":

        def pyramid(of_image):
            sides = of_image[0].shape[:2]
            parts = [resized(x, (*sides, x.shape[-1])) for x in of_image]
            return [np.concatenate(parts, axis=-1)]

        levels, gallery = pyramid(levels), [pyramid(image) for image in gallery]
    total = np.zeros(test.shape[:2])
    for i, level in enumerate(levels):
        h, w, size = level.shape
        if method.places == "same_place":
            found = np.min(
                [np.linalg.norm(level - image[i], axis=-1) for image in gallery], axis=0
            )
        else:
            every = np.concatenate([image[i].reshape(-1, size) for image in gallery])
            difference = level.reshape(-1, 1, size) - every[None]
            found = np.linalg.norm(difference, axis=-1).min(axis=1).reshape(h, w)
        total += resized(found, total.shape)
    return total / len(levels)


def check_against_full_search(method, images):
    method.validate()
    frozen = method.prepare(images[:TRAIN])
    assert frozen["pooled"].shape == (TRAIN, 1280)
    tests = images[TRAIN:]
    maps = anomaly_map(method, frozen, tests / 255.0)
    for test, found in zip(tests, maps, strict=True):
        expected = by_hand(method, frozen, images[:TRAIN], test)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    return frozen, maps


@pytest.mark.parametrize("combination", ["separate", "concatenated"])
@pytest.mark.parametrize("places", ["everywhere", "same_place"])
def test_neighbors_are_those_of_the_full_search(weights, images, combination, places):
    check_against_full_search(
        spade(weights, combination=combination, places=places), images
    )


@pytest.mark.parametrize(
    ("size", "fields"),
    [
        ((32, 64), {"stride": 8}),
        ((48, 32), {"places": "same_place", "stride": 16}),
        ((64, 32), {"combination": "concatenated"}),
    ],
)
def test_so_are_those_of_standardized_levels(weights, size, fields):
    images = np.random.default_rng(1).integers(0, 256, (TRAIN + 1, *size, 3), np.uint8)
    # Some are brighter than others, so that they have neighbors.
    images[::2] = 100 + images[::2] // 4
    method = spade(weights, image_size=size, standardized=True, **fields)
    check_against_full_search(method, images)


def test_moments_of_the_training_images_are_kept(weights, images):
    frozen = spade(weights, standardized=True).prepare(images[:TRAIN])
    raw = spade(weights).prepare(images[:TRAIN])
    assert "moments" not in raw
    names = {"pooled", "level_0", "level_1", "level_2"}
    assert set(frozen["moments"]) == names
    for name in names:
        features = np.asarray(frozen[name], np.float64)
        channels = tuple(range(features.ndim - 1))
        np.testing.assert_allclose(features.mean(axis=channels), 0, atol=1e-3)
        std = np.asarray(raw[name]).std(axis=channels)
        varies = std > 1e-2 * std.mean()  # some of a random network never do
        assert varies.mean() > 0.5
        np.testing.assert_allclose(features.std(axis=channels)[varies], 1, atol=1e-3)
        moments = jax.device_get(frozen["moments"][name])
        again = features * moments["std"] + moments["mean"]
        np.testing.assert_allclose(again, raw[name], rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def wide_images():
    """Of 32 x 64 pixels, height before width."""
    both = doubles.random_images(2 * (TRAIN + 2), side=SIDE)
    return np.concatenate([both[::2], both[1::2]], axis=2)


@pytest.mark.parametrize("combination", ["separate", "concatenated"])
@pytest.mark.parametrize("places", ["everywhere", "same_place"])
def test_so_are_those_of_images_that_are_no_squares(
    weights, wide_images, combination, places
):
    size = (SIDE, 2 * SIDE)
    method = spade(weights, combination=combination, places=places, image_size=size)
    frozen, maps = check_against_full_search(method, wide_images)
    assert frozen["level_0"].shape[1:3] == (SIDE // 4, SIDE // 2)
    assert maps.shape == (2, *size)


def test_a_defect_of_a_wide_image_is_found_where_it_is(wide_images):
    """E_loc, averaged over squares of pixels, and a map that is smoothed."""
    method = SPADE(
        image_size=(SIDE, 2 * SIDE),
        weights="random",
        d_loc=8,
        E_loc_width=1 / 16,
        sigma=2.0,
        inference_batch_size=4,
    )
    flat = np.full_like(wide_images[:TRAIN], 120)
    test = flat[:1] / 255.0
    test[0, 4:12, 44:56] = 1.0
    (found,) = np.asarray(anomaly_map(method, method.prepare(flat), test))
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 0 <= row < 20, row
    assert 40 <= column < 60, column


@pytest.mark.parametrize("backbone", ["E_loc", "mobilenet_v2"])
def test_a_training_image_is_its_own_neighbor(weights, images, backbone):
    of = {"backbone": backbone, "weights": "random" if backbone == "E_loc" else weights}
    method = spade(**of, K=1, d_loc=8, E_loc_width=1 / 16)
    frozen = method.prepare(images[:TRAIN])
    own, other = np.asarray(anomaly_map(method, frozen, images[[2, TRAIN]] / 255.0))
    # Small distances are differences of large numbers.
    assert own.max() < 0.05 * other.min()


def test_more_images_than_there_are_means_all(weights, images):
    frozen = spade(weights).prepare(images[:TRAIN])
    all_of_them, more = (
        anomaly_map(spade(weights, K=k), frozen, images[TRAIN:] / 255.0)
        for k in (TRAIN, 50)
    )
    np.testing.assert_array_equal(more, all_of_them)


@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_smoothing_is_scipys(sigma):
    scores = np.random.default_rng(0).random((40, 56)).astype(np.float32)
    np.testing.assert_allclose(
        smooth(jnp.asarray(scores), sigma),
        ndimage.gaussian_filter(scores, sigma),
        rtol=1e-4,
    )


def test_the_full_size_fits_into_16_gb():
    """Eight images against 335 of 224 x 224: arguments and scratch, as compiled."""
    method = SPADE(backbone="wide_resnet50_2", weights="FILE")
    network = classifier("wide_resnet50_2")
    x = jax.ShapeDtypeStruct((335, 224, 224, 3), jnp.float32)
    params = jax.eval_shape(network.module.init, jax.random.key(0), x)["params"]
    maps = jax.eval_shape(network.maps, params, x)
    names = ("layer1", "layer2", "layer3")
    assert [maps[n].shape[1:] for n in names] == [
        (56, 56, 256),
        (28, 28, 512),
        (14, 14, 1024),
    ]
    frozen = {"backbone": params, "pooled": maps["pooled"]} | {
        f"level_{i}": maps[name] for i, name in enumerate(names)
    }

    def score(frozen, images):
        return method.anomaly_map(DetectorState(frozen, Learned({}, {}), {}), images)

    eight = jax.ShapeDtypeStruct((8, 224, 224, 3), jnp.float32)
    memory = jax.jit(score).lower(frozen, eight).compile().memory_analysis()
    assert memory.argument_size_in_bytes == pytest.approx(2.16e9, rel=0.01)
    assert memory.argument_size_in_bytes + memory.temp_size_in_bytes < 16e9


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"backbone": "wide_resnet50_2"}, "convert .* arch=wide_resnet50_2"),
        ({"backbone": "efficientnet_lite0"}, "set weights to 'imagenet'"),
        ({"backbone": "mobilenet_v2", "weights": "imagenet"}, "not for 'mobilenet_v2'"),
        ({"backbone": "resnet18", "weights": "none.npz"}, "there is no such file"),
        ({"weights": "mine_{p}.npz"}, "weights is 'mine_{p}.npz', .* 'mine_17.npz'"),
        ({"d_loc": 7}, "No weights of E_loc come with the package"),
        ({"backbone": "vgg"}, "allowed are 'E_loc'"),
        ({"combination": "mean"}, "'separate', 'concatenated'"),
        ({"places": "near"}, "'everywhere', 'same_place'"),
        ({"K": 0}, "K is 0"),
        ({"sigma": -1.0}, "0 or more"),
        ({"stride": 6}, r"allowed are \(4, 8, 16\)"),
        ({"standardized": 1}, "True or False"),
        ({"image_size": 100}, "multiple of 16"),
        ({"image_size": (64, 100)}, "image_size is 100; .* multiple of 16"),
        ({"image_size": (64,)}, "2 whole numbers: height, width"),
        ({"image_size": (64, 2.0)}, "must be whole numbers"),
        ({"image_size": "64"}, "a whole number or a tuple of height and width"),
        ({"image_size": (64, 2**14)}, "at most 8192"),
        ({"keep_aspect": 1}, "True or False"),
    ],
)
def test_a_field_outside_its_range_is_named(fields, says):
    with pytest.raises(UserError, match=says):
        SPADE(**fields).validate()


def test_weights_of_another_network_are_named(weights, images):
    wrong = spade(weights, backbone="resnet18")
    with pytest.raises(UserError, match="holds a 'mobilenet_v2', but backbone is"):
        wrong.prepare(images)
    with pytest.raises(UserError, match=r"no_such\.npz"):
        spade("no_such.npz").prepare(images)


def test_the_weights_of_a_package_are_found_and_only_what_is_read_is_kept(images):
    method = presets.run_of(SPADE, presets.SMALL, MvtecAd())[0]
    method.validate()
    assert method.input_size == ShortSide(256)
    small = dataclasses.replace(method, image_size=SIDE, K=1, inference_batch_size=1)
    frozen = small.prepare(images[:2])
    assert "last" in frozen["backbone"]
    assert "logits" not in frozen["backbone"]
    assert [frozen[f"level_{i}"].shape[1:] for i in range(3)] == [
        (4, 4, 24),
        (4, 4, 40),
        (2, 2, 112),
    ]
    own, other = np.asarray(anomaly_map(small, frozen, images[:3:2] / 255.0))
    assert own.max() < 0.05 * other.min()
