"""MVTec LOCO AD: what is loaded, and wrong layouts."""

import pathlib
import shutil

import numpy as np
import pytest
from helpers import trees
from helpers.loco_folder import data_of, load, zoomed
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import KINDS
from gcad_jax.data.image_size import ShortSide
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec import facts
from gcad_jax.data.resize import resize_image

LOGICAL = "ground_truth/logical_anomalies"


@pytest.fixture
def folder(tmp_path):
    return trees.make_loco(tmp_path / "root")


def test_round_trip_of_pixels(folder):
    category = load(folder)
    assert (category.dataset, category.name) == ("mvtec_loco_ad", "juice_bottle")
    for images, seeds in (
        (category.train, [0, 1, 2, 3]),
        (category.validation, [100, 101]),
        (category.test, [200, 201, 300, 400, 401]),
    ):
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, np.stack([zoomed(s) for s in seeds]))


@pytest.mark.parametrize(
    ("wanted", "size"),
    [((16, 32), (16, 32)), (ShortSide(16, 8), (24, 16)), (ShortSide(32), (64, 32))],
)
def test_other_sizes_than_squares(folder, wanted, size):
    """The images have 24 x 16 pixels, height before width."""
    category = data_of(folder).load("juice_bottle", wanted, 3)
    assert category.image_size == size
    for images, seeds in ((category.train, range(4)), (category.validation, [100])):
        for image, seed in zip(images, seeds, strict=False):
            np.testing.assert_array_equal(image, resize_image(trees.noise(seed), size))
    assert category.test.shape == (5, *size, 3)
    assert {(test.height, test.width) for test in category.test_images} == {(24, 16)}


def test_gray_input(folder):
    category = load(folder, channels=1)
    assert category.train.shape == (4, 16, 16, 1)


def test_round_trip_of_test_images(folder):
    images = load(folder).test_images
    assert [(image.name, image.kind) for image in images] == [
        ("good/000", "good"),
        ("good/001", "good"),
        ("structural_anomalies/000", "structural_anomalies"),
        ("logical_anomalies/000", "logical_anomalies"),
        ("logical_anomalies/001", "logical_anomalies"),
    ]
    assert {(image.height, image.width) for image in images} == {(24, 16)}
    assert [len(image.regions) for image in images] == [0, 0, 1, 2, 2]
    assert all(image.annotated for image in images)


def test_round_trip_of_all_masks(folder):
    image = load(folder).test_images[4]
    first, second = image.regions
    assert (first.defect_name, first.pixel_value) == ("missing_part", 255)
    assert (first.saturation_threshold, first.relative_saturation) == (10, False)
    assert (second.defect_name, second.pixel_value) == ("extra_part", 254)
    # Exactly, not as float32: int(0.7 * 10) is 7.
    assert (second.saturation_threshold, second.relative_saturation) == (0.7, True)
    for region, mask in (
        (first, trees.rectangle(0, 0, 4, 5, 255)),
        (second, trees.rectangle(11, 6, 2, 5, 254)),
    ):
        assert region.pixels.dtype == np.int32
        np.testing.assert_array_equal(region.pixels, np.flatnonzero(mask))
    assert (first.area, second.area) == (20, 10)


def test_a_subset_is_said(folder):
    category = load(folder)
    assert not category.complete
    (note,) = category.notes
    assert "train 4 of 335 images" in note
    assert "test structural_anomalies 1 of 94 images" in note
    assert "16 x 24 instead of 800 x 1600 pixels" in note
    assert "do not compare" in note


def test_complete_needs_counts_and_sizes(folder, monkeypatch):
    counts = {"train": 4, "validation": 2, "good": 2, "structural": 1, "logical": 2}
    flips = {"vertical_flip": False, "horizontal_flip": False}
    small = facts.DatasetFacts(**counts, height=24, width=16, **flips)
    monkeypatch.setitem(facts.LOCO, "juice_bottle", small)
    assert load(folder).complete
    assert load(folder).notes == ()
    swapped = facts.DatasetFacts(**counts, height=16, width=24, **flips)
    monkeypatch.setitem(facts.LOCO, "juice_bottle", swapped)
    assert not load(folder).complete


def test_augmentation_of_the_category(tmp_path):
    bottle = trees.make_loco(tmp_path / "root", "juice_bottle")
    pins = trees.make_loco(tmp_path / "root", "pushpins")
    still = load(bottle).augmentation
    assert (still.vertical_flip, still.horizontal_flip) == (False, False)
    assert (still.rotation_degrees, still.jitter) == (3.0, 0.1)
    flipped = data_of(pins, rotation_degrees=1.0, jitter=0.2).load("pushpins", 8, 3)
    assert flipped.augmentation.vertical_flip
    assert flipped.augmentation.horizontal_flip
    assert flipped.augmentation.rotation_degrees == 1.0
    assert flipped.augmentation.jitter == 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_kind_of_test_images(folder, kind):
    shutil.rmtree(folder / "test" / kind)
    category = load(folder)
    assert kind not in {image.kind for image in category.test_images}
    assert any(f"test {kind} 0 of" in note for note in category.notes)


def test_without_test_images(folder):
    for name in ("test", "ground_truth"):
        shutil.rmtree(folder / name)
    (folder / "defects_config.json").unlink()
    category = load(folder)
    assert category.test.shape == (0, 16, 16, 3)
    assert category.test_images == ()


def test_masks_of_absent_images_are_noted(folder):
    (folder / "test/logical_anomalies/001.png").unlink()
    category = load(folder)
    assert len(category.test_images) == 4
    assert any("masks for 1 images that are not" in note for note in category.notes)


# Wrong folders and categories.


@pytest.mark.parametrize("root", ["", "{tmp}/nowhere", "{tmp}/root/file", "{tmp}"])
def test_no_data_says_where_to_get_it(folder, root):
    (folder.parent / "file").write_text("")
    data = MvtecLocoAd(root=root.format(tmp=folder.parent.parent))
    with pytest.raises(UserError, match="datasets/mvtec-loco") as error:
        data.names()
    assert " data.root=" in str(error.value)
    assert "{train,validation}/good" in str(error.value)


def test_root_is_the_category(folder):
    data = MvtecLocoAd(root=str(folder), categories=("juice_bottle",))
    with pytest.raises(UserError, match="give the folder above it") as error:
        data.names()
    assert f" data.root={folder.parent}." in str(error.value)


def test_a_category_that_is_not_there(folder):
    data = MvtecLocoAd(root=str(folder.parent))
    with pytest.raises(UserError, match=r"'breakfast_box', but .* holds only juice_b"):
        data.names()


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ((), "is empty"),
        (("juice_bottel",), "Did you mean 'juice_bottle'"),
        (("juice_bottle", "juice_bottle"), "twice"),
    ],
)
def test_wrong_categories(folder, categories, words):
    data = MvtecLocoAd(root=str(folder.parent), categories=categories)
    with pytest.raises(UserError, match=words):
        data.names()


def test_names_of_what_is_there(folder):
    assert data_of(folder).names() == ("juice_bottle",)


@pytest.mark.parametrize("missing", ["train", "validation"])
def test_a_missing_folder(folder, missing):
    shutil.rmtree(folder / missing)
    with pytest.raises(UserError, match=f"lacks the folder {missing}/good"):
        data_of(folder).names()


def test_all_missing_folders_are_named(folder):
    shutil.rmtree(folder / "train")
    shutil.rmtree(folder / "validation")
    with pytest.raises(UserError, match="train/good and validation/good"):
        data_of(folder).names()


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"train": 1}, r"train/good holds 1 image; at least 2 are needed"),
        ({"train": 0}, r"lacks the folder train/good"),
        ({"validation": 0}, r"lacks the folder validation/good"),
    ],
)
def test_too_few_images(tmp_path, counts, words):
    folder = trees.make_loco(tmp_path / "root", **counts)
    with pytest.raises(UserError, match=words):
        data_of(folder).names()


def test_an_empty_folder(folder):
    (folder / "validation/good/000.png").unlink()
    (folder / "validation/good/001.png").unlink()
    with pytest.raises(UserError, match="holds no images; at least 1 is needed"):
        data_of(folder).names()


# Real images.


@pytest.fixture(scope="module")
def bottles(real_data, tmp_path_factory):
    data = MvtecLocoAd(
        root=str(real_data / "mvtec_loco_quarter"),
        categories=("juice_bottle",),
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )
    assert data.names() == ("juice_bottle",)
    return data.load("juice_bottle", 32, 3)


def test_real_counts(bottles):
    assert bottles.train.shape == (241, 32, 32, 3)
    assert bottles.validation.shape == (54, 32, 32, 3)
    kinds = [image.kind for image in bottles.test_images]
    assert [kinds.count(kind) for kind in KINDS] == [94, 60, 142]
    assert len(bottles.test) == 296
    assert not bottles.complete
    assert any("train 241 of 335 images" in note for note in bottles.notes)


def test_real_masks(bottles, real_data):
    logical = [i for i in bottles.test_images if i.kind == "logical_anomalies"]
    assert [len(image.regions) for image in logical[:2]] == [2, 2]
    folder = real_data / "mvtec_loco_quarter/juice_bottle/ground_truth"
    for image in logical[:20]:
        paths = sorted(pathlib.Path(folder, image.name).glob("*.png"))
        assert len(paths) == len(image.regions)
        for path, region in zip(paths, image.regions, strict=True):
            mask = np.asarray(Image.open(path))
            assert mask.shape == (image.height, image.width) == (400, 200)
            np.testing.assert_array_equal(region.pixels, np.flatnonzero(mask))
            assert region.pixel_value == mask.max()
