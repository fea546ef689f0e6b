import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from data import trees
from PIL import Image

from gcad_jax.checks import UserError
from gcad_jax.data import prepared, tables
from gcad_jax.data.category import KINDS
from gcad_jax.data.loco import MvtecLocoAd

LOGICAL = "ground_truth/logical_anomalies"


@pytest.fixture
def folder(tmp_path):
    return trees.make_loco(tmp_path / "root")


def data_of(folder, **fields):
    cache = folder.parent.parent / "cache"
    return MvtecLocoAd(
        root=str(folder.parent),
        categories=(folder.name,),
        cache_dir=str(cache),
        **fields,
    )


def load(folder, size=16, channels=3):
    return data_of(folder).load(folder.name, size, channels)


def zoomed(seed, size=16):
    image = Image.fromarray(trees.noise(seed))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


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


def test_grey_input(folder):
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
    small = tables.Published(**counts, height=24, width=16)
    monkeypatch.setitem(tables.LOCO, "juice_bottle", small)
    assert load(folder).complete
    assert load(folder).notes == ()
    swapped = tables.Published(**counts, height=16, width=24)
    monkeypatch.setitem(tables.LOCO, "juice_bottle", swapped)
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
    assert "--config.data.root=" in str(error.value)
    assert "{train,validation}/good" in str(error.value)


def test_root_is_the_category(folder):
    data = MvtecLocoAd(root=str(folder), categories=("juice_bottle",))
    with pytest.raises(UserError, match="give the folder above it") as error:
        data.names()
    assert f"--config.data.root={folder.parent}." in str(error.value)


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


# Wrong files. Each breaks one file of a good tree, and load says which.


def unknown_value(folder):
    return trees.save(folder / LOGICAL / "001/001.png", trees.rectangle(0, 0, 4, 5, 77))


def two_values(folder):
    mask = trees.rectangle(0, 0, 4, 5, 255)
    mask[20, 3] = 254
    return trees.save(folder / LOGICAL / "001/001.png", mask)


def empty_mask(folder):
    return trees.save(folder / LOGICAL / "001/001.png", trees.rectangle(0, 0, 0, 0, 1))


def mask_of_another_size(folder):
    return trees.save(
        folder / LOGICAL / "001/000.png", np.full((16, 24), 255, np.uint8)
    )


def too_small_for_its_threshold(folder):
    return trees.save(
        folder / LOGICAL / "000/001.png", trees.rectangle(3, 3, 1, 1, 254)
    )


def no_masks(folder):
    shutil.rmtree(folder / LOGICAL / "001")
    return folder / "test/logical_anomalies/001.png"


def empty_mask_folder(folder):
    no_masks(folder)
    (folder / LOGICAL / "001").mkdir()
    return folder / "test/logical_anomalies/001.png"


def truncated_image(folder):
    path = folder / "train/good/002.png"
    path.write_bytes(path.read_bytes()[:200])
    return path


def not_an_image(folder):
    path = folder / "test/good/001.png"
    path.write_text("no image")
    return path


def truncated_mask(folder):
    path = folder / LOGICAL / "000/000.png"
    path.write_bytes(path.read_bytes()[:60])
    return path


def image_twice(folder):
    path = folder / "train/good/001.jpg"
    Image.fromarray(trees.noise(1)).save(path)
    return folder / "train/good/001.png"


def unknown_kind(folder):
    return trees.save(folder / "test/logical/000.png", trees.noise(9)).parents[1]


def no_config(folder):
    (folder / "defects_config.json").unlink()
    return folder / "defects_config.json"


def bad_config(folder):
    trees.write_defects(folder, [trees.DEFECTS[0], trees.DEFECTS[0]])
    return folder / "defects_config.json"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            unknown_value,
            "pixel value 77, which no defect .* known values: 200, 254, 25",
        ),
        (two_values, "several positive values .such as 254 and 255"),
        (empty_mask, "without any positive pixel"),
        (mask_of_another_size, "24 x 16 pixels, but its image .*001.png has 16 x 24"),
        (too_small_for_its_threshold, "1 pixels .* 0.7, so it saturates at 0 pixels"),
        (no_masks, "has no masks; .*logical_anomalies/001 must hold"),
        (empty_mask_folder, "has no masks"),
        (truncated_image, "is not a readable image"),
        (not_an_image, "is not a readable image"),
        (truncated_mask, "is not a readable image"),
        (image_twice, "001.jpg beside it .* must be there once"),
        (unknown_kind, "'logical'; allowed .* Did you mean 'logical_anomalies'"),
        (no_config, "cannot be read"),
        (bad_config, "pixel_value 255 2 times"),
    ],
)
def test_bad_files_are_named(folder, spoil, words):
    path = spoil(folder)
    for _ in range(2):  # a second run must say the same
        with pytest.raises(UserError, match=words) as error:
            load(folder)
        assert str(path.with_suffix("")) in str(error.value)
        assert "\n" not in str(error.value)


# The cache.


def packed(folder):
    cache = prepared.cache_folder(str(folder.parent.parent / "cache"))
    return sorted(cache.iterdir()) if cache.is_dir() else []


def test_a_bad_mask_leaves_nothing_in_the_cache(folder):
    unknown_value(folder)
    with pytest.raises(UserError):
        load(folder)
    assert packed(folder) == []


def test_the_cache_is_used_again(folder):
    load(folder)
    (before,) = packed(folder)
    files = {path: path.stat().st_mtime_ns for path in before.rglob("*")}
    again = load(folder)
    assert {path: path.stat().st_mtime_ns for path in before.rglob("*")} == files
    np.testing.assert_array_equal(again.train[3], zoomed(3))


def test_a_changed_image_is_never_served_stale(folder):
    load(folder)
    (before,) = packed(folder)
    trees.save(folder / "train/good/003.png", trees.noise(999))
    np.testing.assert_array_equal(load(folder).train[3], zoomed(999))
    (after,) = packed(folder)  # what is stale goes
    assert after != before


def test_a_changed_threshold_is_never_served_stale(folder):
    load(folder)
    entries = json.loads((folder / "defects_config.json").read_text())
    entries[2]["saturation_threshold"] = 0.5
    trees.write_defects(folder, entries)
    assert load(folder).test_images[2].regions[0].saturation_threshold == 0.5


def test_an_added_and_a_removed_image(folder):
    load(folder)
    trees.save(folder / "train/good/004.png", trees.noise(4))
    assert len(load(folder).train) == 5
    (folder / "train/good/000.png").unlink()
    np.testing.assert_array_equal(load(folder).train[0], zoomed(1))


def test_two_roots_do_not_share(tmp_path):
    first = trees.make_loco(tmp_path / "first")
    second = trees.make_loco(tmp_path / "second", train=3)
    assert [len(load(f).train) for f in (first, second, first)] == [4, 3, 4]
    assert len(packed(first)) == 2


@pytest.mark.parametrize("name", ["*test*array_record*", "dataset_info.json"])
@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_cache_is_packed_again(folder, name, cut):
    load(folder)
    (path,) = packed(folder)[0].rglob(name)
    if cut and name.startswith("*"):
        path.write_bytes(path.read_bytes()[:1000])
    else:
        path.unlink()
    assert len(load(folder).test_images) == 5


def test_what_a_killed_run_left_is_ignored_and_later_removed(folder):
    load(folder)
    (done,) = packed(folder)
    fresh = done.with_name(f"{done.name}.incompletefresh")
    old = done.with_name(f"{done.name}.incompleteold")
    for path in (fresh, old):
        shutil.copytree(done, path)
    shutil.rmtree(done)
    two_days_ago = old.stat().st_mtime - 2 * prepared.ABANDONED
    os.utime(old, (two_days_ago, two_days_ago))
    os.utime(fresh)
    load(folder)
    assert packed(folder) == [done, fresh]


def test_a_cache_that_cannot_be_written(folder):
    (folder.parent.parent / "cache").write_text("a file, not a folder")
    with pytest.raises(UserError, match=r"cannot be written .*data.cache_dir=PATH"):
        load(folder)


def test_the_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert prepared.cache_folder("") == tmp_path / "gcad_jax/tfds"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert prepared.cache_folder("") == tmp_path / "home/.cache/gcad_jax/tfds"
    assert prepared.cache_folder("~/x") == tmp_path / "home/x/gcad_jax/tfds"


# TFDS.


SCRIPT = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError('network')
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from gcad_jax.data.loco import MvtecLocoAd
data = MvtecLocoAd(sys.argv[1], ('juice_bottle',), sys.argv[2])
data.names()
assert 'tensorflow_datasets' not in sys.modules
data.load('juice_bottle', 16, 3)
assert 'tensorflow' not in sys.modules
"""


def test_tfds_is_lazy_quiet_and_offline(folder, tmp_path):
    (tmp_path / "tmp").mkdir()
    home = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder.parent), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        env={**os.environ, **home, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert not (tmp_path / "home").exists()  # no ~/tensorflow_datasets
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_builder_works_for_users_of_tfds(folder, tmp_path, caplog):
    import tensorflow_datasets as tfds

    from gcad_jax.data import loco_builder

    caplog.set_level(logging.ERROR)
    assert [c.name for c in loco_builder.MvtecLocoAd.BUILDER_CONFIGS] == [
        "breakfast_box",
        "juice_bottle",
        "pushpins",
        "screw_bag",
        "splicing_connectors",
    ]
    builder = tfds.builder("mvtec_loco_ad/juice_bottle", data_dir=tmp_path / "tfds")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=folder.parent)
    )
    source = builder.as_data_source("test")
    example = source[3]
    assert example["name"] == b"logical_anomalies/000"
    assert builder.info.features["kind"].int2str(example["kind"]) == KINDS[2]
    np.testing.assert_array_equal(example["image"], trees.noise(400))
    assert example["masks"]["defect_name"] == [b"missing_part", b"extra_part"]
    np.testing.assert_array_equal(
        np.asarray(example["masks"]["mask"])[1, ..., 0],
        trees.rectangle(10, 6, 2, 5, 254),
    )


def test_the_builder_says_what_is_missing(folder, tmp_path):
    import tensorflow_datasets as tfds

    from gcad_jax.data import loco_builder

    shutil.rmtree(folder / "validation")
    builder = loco_builder.MvtecLocoAd(data_dir=tmp_path / "t", config="juice_bottle")
    config = tfds.download.DownloadConfig(manual_dir=folder.parent)
    with pytest.raises(UserError, match="lacks the folder validation/good"):
        builder.download_and_prepare(download_config=config)


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
