"""Paths on gs://, against an emulator of Google Cloud Storage on this machine."""

import re
import subprocess
import sys
import types

import map_folders
import numpy as np
import object_store
import pytest
import runs
from data import trees
from etils import epath
from models.test_mobilenet import random_tensors
from object_store import BUCKET
from studies import study_runs

from gcad_jax import files, folder_scores
from gcad_jax.checks import UserError
from gcad_jax.convert import convert
from gcad_jax.data import prepared
from gcad_jax.data.folder import Folder
from gcad_jax.data.images import read_image
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec_ad import MvtecAd
from gcad_jax.data.photos import Photos
from gcad_jax.evaluate import outputs
from gcad_jax.models.classifiers import load_classifier

# aiohttp says so of the parts in which gcsfs sends files.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def store():
    """The environment of the emulator, here and for processes that are started."""
    pytest.importorskip("gcp_storage_emulator", reason="pip install 'gcad_jax[test]'")
    with object_store.emulator() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        # Behind the environment, which it reads when it is imported.
        pytest.importorskip("gcsfs", reason="pip install 'gcad_jax[test]'")
        yield environment


@pytest.fixture
def folder(request):
    """A folder of the bucket that no other test uses."""
    return epath.Path(BUCKET) / re.sub(r"\W", "_", request.node.name)


# -- files -----------------------------------------------------------------------


def write_half(path):
    with files.written(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt


def test_a_file_appears_whole_or_not_at_all(folder):
    path = folder / "a.txt"
    with files.written(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert path.read_text() == "new"
    files.write_text(path, "newer")
    assert path.read_text() == "newer"
    assert files.listing(folder) == [path]


def test_a_large_file_arrives_in_parts(folder):
    data = np.random.default_rng(0).bytes(11 * 2**20)  # gcsfs sends 5 MiB at once
    with files.written(folder / "large") as part:
        part.write_bytes(data)
    assert files.opened(folder / "large").read() == data


def test_folders_and_files_are_listed(folder):
    # A folder may be called as the one that it is in.
    for name in ("b.txt", "a.txt", f"{folder.name}/c.txt", "d/e/f.txt", ".hidden/g"):
        (folder / name).write_text(name)
    inner = [folder / ".hidden", folder / "d", folder / folder.name]
    own = [folder / "a.txt", folder / "b.txt"]
    assert files.inside(folder) == (inner, own)
    assert files.listing(folder) == sorted(inner + own)
    found = [str(folder / n) for n in (".hidden/g", "a.txt", "b.txt", "d/e/f.txt")]
    assert sorted(files.below(folder)) == sorted(
        [*found, str(folder / folder.name / "c.txt")]
    )
    assert files.inside(folder / "none") == ([], [])
    assert files.absolute(folder) == files.resolved(folder) == folder
    assert files.stamp(folder / "a.txt")[0] == 5


def test_the_stamp_changes_with_the_file(folder, monkeypatch):
    path = folder / "a.txt"
    path.write_text("1")
    before = path.stat().mtime
    assert files.stamp(path) == (1, before)
    assert before > 0
    # As in a store that does not tell the time.
    about = types.SimpleNamespace(length=1, mtime=0)
    monkeypatch.setattr(type(path), "stat", lambda self: about)
    before = files.stamp(path)
    assert files.stamp(path) == before
    path.write_text("2")
    assert files.stamp(path) != before


def test_a_tree_is_filled_by_those_who_know_disks_alone(folder):
    with files.filled(folder) as place:
        trees.write_defects(epath.Path(place) / "x", trees.DEFECTS)
    assert files.below(folder / "x").__next__() == str(folder / "x/defects_config.json")


def test_what_cannot_be_written_is_said_before(folder):
    files.check_writable(folder, ["a.txt"], "--workdir")
    assert not folder.exists()
    (folder / "a.txt/b").write_text("")
    with pytest.raises(UserError, match=r"a\.txt is a folder, where a result"):
        files.check_writable(folder, ["a.txt"], "--workdir")
    with pytest.raises(UserError, match=r"^--workdir=gs://none/x cannot be written"):
        files.check_writable("gs://none/x", ["a.txt"], "--workdir")
    with pytest.raises(UserError, match=r"^gs://none/x/a\.txt cannot be written \("):
        files.write_text("gs://none/x/a.txt", "")


def test_stores_that_are_not_known():
    with pytest.raises(UserError, match=r"^ftp://a/b begins with ftp://, which is not"):
        files.as_path("ftp://a/b")


def test_a_missing_package_is_one_sentence():
    command = (
        "import sys; sys.modules['gcsfs'] = None; from gcad_jax import evaluate; "
        "sys.argv += ['--object_name=a', '--dataset_base_dir=.', "
        "'--anomaly_maps_dir=gs://bucket/maps', '--output_dir=out']; evaluate.run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        capture_output=True,
        text=True,
        env=runs.environment(),
        check=False,
    )
    assert done.returncode == 2
    assert runs.one_sentence(done.stderr) == (
        "gs://bucket/maps needs a package that is not installed: "
        "pip install 'gcad_jax[gcs]'."
    )


# -- data ------------------------------------------------------------------------


def same_category(one, other):
    for field in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert one.notes == other.notes
    for mine, theirs in zip(one.test_images, other.test_images, strict=True):
        assert (mine.name, mine.kind) == (theirs.name, theirs.kind)
        for a, b in zip(mine.regions, theirs.regions, strict=True):
            np.testing.assert_array_equal(a.pixels, b.pixels)


def test_loco_is_read_and_packed_anew_when_it_changes(tmp_path, folder):
    made = trees.make_loco(tmp_path / "local")
    root = object_store.upload(tmp_path / "local", f"{folder}/loco")
    cache = tmp_path / "cache"

    def load(where):
        data = MvtecLocoAd(str(where), (made.name,), str(cache))
        assert data.names() == (made.name,)
        return data.load(made.name, 16, 3)

    def packed():
        return sorted(p.name for p in prepared.cache_folder(str(cache)).iterdir())

    same_category(load(root), load(tmp_path / "local"))
    first = packed()
    load(root)
    assert packed() == first
    (root / made.name / "train/good/000.png").unlink()
    assert len(load(root).train) == 3
    assert len(packed()) == len(first), "what it was packed from is gone"
    assert packed() != first


def test_mvtec_ad_is_read(tmp_path, folder):
    made = trees.make_ad(tmp_path / "local")
    root = object_store.upload(tmp_path / "local", f"{folder}/ad")
    one, other = (
        MvtecAd(str(where), (made.name,), str(tmp_path / "cache")).load(
            made.name, 16, 3
        )
        for where in (root, tmp_path / "local")
    )
    same_category(one, other)


def test_own_images_are_read(tmp_path, folder):
    own = tmp_path / "bottles"
    for name in ("train/0", "train/1", "train/2", "test/good/0", "test/crack/0"):
        trees.save(own / f"{name}.png", trees.noise(len(name)))
    mask = trees.rectangle(2, 3, 3, 4, 255)
    trees.save(own / "ground_truth/crack/0_mask.png", mask)
    root = object_store.upload(own, f"{folder}/bottles")
    one, other = (Folder(str(where)) for where in (root, own))
    assert one.names() == other.names() == ("bottles",)
    same_category(one.load("bottles", 16, 3), other.load("bottles", 16, 3))
    with pytest.raises(UserError, match=r"gs://bucket/.*/none.* is not a folder"):
        Folder(f"{folder}/none").names()


def test_photos_are_read(tmp_path, folder):
    for name in ("b/1", "b/2", "a"):
        trees.save(tmp_path / f"{name}.png", trees.noise(len(name)))
    root = object_store.upload(tmp_path, str(folder))
    here, there = (Photos(str(place)).load(print) for place in (tmp_path, root))
    assert there.digest() == here.digest()
    for row in range(3):
        np.testing.assert_array_equal(there.read(row), here.read(row))


def test_packed_sets_stay_on_a_disk(tmp_path):
    trees.make_loco(tmp_path)
    data = MvtecLocoAd(str(tmp_path), ("juice_bottle",), f"{BUCKET}/cache")
    with pytest.raises(UserError, match=r"^data\.cache_dir is gs://bucket/cache; TFDS"):
        data.load("juice_bottle", 16, 3)


def test_a_damaged_image_is_named(folder):
    path = folder / "train/0.png"
    path.write_bytes(b"no image")
    with pytest.raises(UserError, match=rf"^{path} is not a readable image: its form"):
        read_image(path, 3)


# -- weights, evaluation ---------------------------------------------------------


def test_weights_are_converted_and_read(tmp_path, folder):
    tensors = random_tensors()
    np.savez(tmp_path / "weights.npz", **tensors)
    (folder / "weights.npz").write_bytes((tmp_path / "weights.npz").read_bytes())
    target = f"{folder}/target.npz"
    said = convert("mobilenet_v2", f"{folder}/weights.npz", target)
    assert said.startswith(f"{target}: mobilenet_v2, 106 arrays, 3,489,097 parameters")
    network, params = load_classifier(target)
    assert network.arch == "mobilenet_v2"
    kernel = params["stage2_block1_depthwise"]["kernel"]
    np.testing.assert_array_equal(
        kernel[:, :, 0], tensors["005.DEPTHWISE_CONV_2D.w"][0]
    )
    with pytest.raises(UserError, match=r"is the file of --input"):
        convert("mobilenet_v2", target, target)


@pytest.mark.parametrize("make", [map_folders.make_loco, map_folders.make_ad])
def test_maps_are_evaluated(tmp_path, folder, make):
    name = make(tmp_path)[0].name
    root = object_store.upload(tmp_path, f"{folder}/{name}")
    for place in (tmp_path, root):
        folder_scores.evaluate(name, place / "data", place / "maps", place / "out")
    assert map_folders.metrics(root / "out") == map_folders.metrics(tmp_path / "out")
    written = sorted(path.name for path in files.listing(root / "out"))
    assert written == ["curves.png", "details.json", "metrics.json"]
    assert (root / "out/curves.png").read_bytes()[1:4] == b"PNG"


def test_several_folders_of_maps():
    one, other = f"{BUCKET}/a", f"{BUCKET}/b"
    assert outputs(f"{one},{other}", f"{BUCKET}/out") == {
        epath.Path(f"{BUCKET}/out/a"): epath.Path(one),
        epath.Path(f"{BUCKET}/out/b"): epath.Path(other),
    }


# -- studies ---------------------------------------------------------------------


def test_a_study_of_the_thresholds_is_kept(tmp_path, folder):
    study_runs.make(tmp_path)
    root = object_store.upload(tmp_path, str(folder))
    here, _ = study_runs.run(tmp_path)
    there, _ = study_runs.run(root)
    assert there["categories"] == here["categories"]
    names = [path.name for path in files.listing(root / "out")]
    forms = ("json", "md", "pdf", "png")
    assert names == ["pushpins", *(f"saturation.{form}" for form in forms)]
    again, lines = study_runs.run(root)
    assert again == there
    assert lines[1] == "pushpins: its draws are kept from earlier"
