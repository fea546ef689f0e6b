"""The packed data sets: used again, never stale, and as TFDS builders."""

import json
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import trees
from helpers.loco_folder import load, packed, zoomed

from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import KINDS
from gcad_jax.data.mvtec import cache

LOGICAL = "ground_truth/logical_anomalies"


@pytest.fixture
def folder(tmp_path):
    return trees.make_loco(tmp_path / "root")


def test_a_bad_mask_leaves_nothing_in_the_cache(folder):
    mask = folder / LOGICAL / "001/001.png"
    trees.save(mask, trees.rectangle(0, 0, 4, 5, 77))
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
    two_days_ago = old.stat().st_mtime - 2 * cache.ABANDONED
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
    assert cache.cache_folder("") == tmp_path / "gcad_jax/tfds"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_folder("") == tmp_path / "home/.cache/gcad_jax/tfds"
    assert cache.cache_folder("~/x") == tmp_path / "home/x/gcad_jax/tfds"


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

    from gcad_jax.data.mvtec import builders

    caplog.set_level(logging.ERROR)
    assert [c.name for c in builders.MvtecLocoAdBuilder.BUILDER_CONFIGS] == [
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

    from gcad_jax.data.mvtec import builders

    shutil.rmtree(folder / "validation")
    builder = builders.MvtecLocoAdBuilder(
        data_dir=tmp_path / "t", config="juice_bottle"
    )
    config = tfds.download.DownloadConfig(manual_dir=folder.parent)
    with pytest.raises(UserError, match="lacks the folder validation/good"):
        builder.download_and_prepare(download_config=config)
