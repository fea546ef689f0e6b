"""Paths on gs://, against an emulator of Google Cloud Storage on this machine."""

import json
import re
import subprocess
import sys
import types
import urllib.parse
import urllib.request

import jax
import numpy as np
import pytest
from core import test_multihost
from etils import epath
from helpers import doubles, map_folders, object_store, runs, study_runs, trees
from helpers.object_store import BUCKET
from inference.test_detector import stored
from jax.experimental.compilation_cache import compilation_cache
from models.classifiers.test_mobilenet import random_tensors

from gcad_jax.core import atomic_files, paths
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.program_folder import keep_in_workdir
from gcad_jax.data.folder import Folder
from gcad_jax.data.images import read_image
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec.cache import cache_folder
from gcad_jax.data.mvtec_ad import MvtecAd
from gcad_jax.data.photos import Photos
from gcad_jax.inference import exported
from gcad_jax.inference.detector import Detector
from gcad_jax.methods.variation_model import VariationModel
from gcad_jax.models.classifiers.classifier import load_classifier
from gcad_jax.models.io.conversion import convert
from gcad_jax.runs import merge, score_maps, train_and_evaluate, workdir
from gcad_jax.studies.grid import runner
from gcad_jax.studies.grid.benchmark import Benchmark
from gcad_jax.studies.grid.study import Cell, make_group, make_study
from gcad_jax.training import logs
from gcad_jax.training.checkpoint import finished_steps, newest_step

# aiohttp says so of the parts in which gcsfs sends files.
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]


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
    return paths.as_path(BUCKET) / re.sub(r"\W", "_", request.node.name)


# -- files -----------------------------------------------------------------------


def write_half(path):
    with atomic_files.atomic_file(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt


def test_a_file_appears_whole_or_not_at_all(folder):
    path = folder / "a.txt"
    with atomic_files.atomic_file(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert path.read_text() == "new"
    atomic_files.write_text(path, "newer")
    assert path.read_text() == "newer"
    assert paths.list_entries(folder) == [path]


def test_a_large_file_arrives_in_parts(folder):
    data = np.random.default_rng(0).bytes(11 * 2**20)  # gcsfs sends 5 MiB at once
    with atomic_files.atomic_file(folder / "large") as part:
        part.write_bytes(data)
    assert paths.open_file(folder / "large").read() == data


def test_a_detector_is_exported_to_it(folder):
    detector = Detector(stored(), batch_size=2)
    path = folder / "a.jax"
    size, _ = exported.write_export(detector, path, 0.1)
    assert paths.list_entries(folder) == [path, folder / "a.jax.json"]
    assert len(path.read_bytes()) == size


def test_folders_and_files_are_listed(folder):
    # A folder may be called as the one that it is in.
    for name in ("b.txt", "a.txt", f"{folder.name}/c.txt", "d/e/f.txt", ".hidden/g"):
        (folder / name).write_text(name)
    inner = [folder / ".hidden", folder / "d", folder / folder.name]
    own = [folder / "a.txt", folder / "b.txt"]
    assert paths.list_folder(folder) == (inner, own)
    assert paths.list_entries(folder) == sorted(inner + own)
    found = [str(folder / n) for n in (".hidden/g", "a.txt", "b.txt", "d/e/f.txt")]
    assert sorted(paths.walk_files(folder)) == sorted(
        [*found, str(folder / folder.name / "c.txt")]
    )
    assert paths.list_folder(folder / "none") == ([], [])
    assert paths.make_absolute(folder) == paths.resolve(folder) == folder
    assert paths.fingerprint(folder / "a.txt")[0] == 5


def test_the_stamp_changes_with_the_file(folder, monkeypatch):
    path = folder / "a.txt"
    path.write_text("1")
    before = path.stat().mtime
    assert paths.fingerprint(path) == (1, before)
    assert before > 0
    # As in a store that does not tell the time.
    about = types.SimpleNamespace(length=1, mtime=0)
    monkeypatch.setattr(type(path), "stat", lambda self: about)
    before = paths.fingerprint(path)
    assert paths.fingerprint(path) == before
    path.write_text("2")
    assert paths.fingerprint(path) != before


def test_a_tree_is_filled_by_those_who_know_disks_alone(folder):
    with atomic_files.local_folder_for(folder) as place:
        trees.write_defects(epath.Path(place) / "x", trees.DEFECTS)
    assert paths.walk_files(folder / "x").__next__() == str(
        folder / "x/defects_config.json"
    )


def test_what_cannot_be_written_is_said_before(folder):
    atomic_files.check_writable(folder, ["a.txt"], "workdir")
    assert not folder.exists()
    (folder / "a.txt/b").write_text("")
    with pytest.raises(UserError, match=r"a\.txt is a folder, where a result"):
        atomic_files.check_writable(folder, ["a.txt"], "workdir")
    with pytest.raises(UserError, match=r"^workdir=gs://none/x cannot be written"):
        atomic_files.check_writable("gs://none/x", ["a.txt"], "workdir")
    with pytest.raises(UserError, match=r"^gs://none/x/a\.txt cannot be written \("):
        atomic_files.write_text("gs://none/x/a.txt", "")


def test_stores_that_are_not_known():
    with pytest.raises(UserError, match=r"^ftp://a/b begins with ftp://, which is not"):
        paths.as_path("ftp://a/b")


def test_a_missing_package_is_one_sentence():
    command = (
        "import sys; sys.modules['gcsfs'] = None; from gcad_jax import evaluate as e; "
        "sys.argv += ['--object_name=a', '--dataset_base_dir=.', "
        "'--anomaly_maps_dir=gs://bucket/maps', '--output_dir=out']; "
        "e.COMMAND.run(e.main)"
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
        return sorted(p.name for p in cache_folder(str(cache)).iterdir())

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
    with pytest.raises(UserError, match=r"is the file that is converted"):
        convert("mobilenet_v2", target, target)


@pytest.mark.parametrize("make", [map_folders.make_loco, map_folders.make_ad])
def test_maps_are_evaluated(tmp_path, folder, make):
    name = make(tmp_path)[0].name
    root = object_store.upload(tmp_path, f"{folder}/{name}")
    for place in (tmp_path, root):
        score_maps.evaluate(name, place / "data", place / "maps", place / "out")
    assert map_folders.metrics(root / "out") == map_folders.metrics(tmp_path / "out")
    written = sorted(path.name for path in paths.list_entries(root / "out"))
    assert written == ["curves.pdf", "curves.png", "details.json", "metrics.json"]
    assert (root / "out/curves.png").read_bytes()[1:4] == b"PNG"


def test_several_folders_of_maps():
    one, other = f"{BUCKET}/a", f"{BUCKET}/b"
    assert score_maps.output_folders(f"{one},{other}", f"{BUCKET}/out") == {
        epath.Path(f"{BUCKET}/out/a"): epath.Path(one),
        epath.Path(f"{BUCKET}/out/b"): epath.Path(other),
    }


# -- studies ---------------------------------------------------------------------


def test_a_study_of_the_thresholds_is_kept(tmp_path, folder):
    study_runs.make_category(tmp_path)
    root = object_store.upload(tmp_path, str(folder))
    here, _ = study_runs.study_maps(tmp_path)
    there, _ = study_runs.study_maps(root)
    assert there["categories"] == here["categories"]
    names = [path.name for path in paths.list_entries(root / "out")]
    forms = ("html", "json", "md", "pdf", "png")
    assert names == ["pushpins", *(f"saturation.{form}" for form in forms)]
    again, lines = study_runs.study_maps(root)
    assert again == there
    assert lines[1] == "pushpins: its draws are kept from earlier"


# -- workdirs --------------------------------------------------------------------


def method(**fields):
    """Six steps in two phases."""
    return doubles.Scored(epochs=3, batch_size=6, **fields)


def config(**fields):
    small = {"method": method(), "checkpoint_minutes": 0.0, "write_maps": True}
    return runs.tiny(**{**small, **fields})


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run of six steps on a disk."""
    path = tmp_path_factory.mktemp("reference")
    train_and_evaluate.run(config(), str(path))
    return path


def same_run(path, reference, tmp_path):
    """All that does not say how long it took."""
    here = object_store.download(path, tmp_path / "downloaded")
    one, other = (runs.saved_state(place / "circles") for place in (here, reference))
    assert one.keys() == other.keys()
    for name, leaf in one.items():
        np.testing.assert_array_equal(leaf, other[name], err_msg=name)
    names = [p.relative_to(reference) for p in reference.rglob("*.tiff")]
    names += [f"circles/{n}.json" for n in ("metrics", "details", "data")]
    for name in (*names, "circles/metrics.jsonl"):
        assert (here / name).read_bytes() == (reference / name).read_bytes(), name
    there = [{p.name for p in (f / "circles").iterdir()} for f in (here, reference)]
    assert there[0] == there[1]
    assert (here / "report.md").exists()


def stopped_at(step, path, monkeypatch):
    """Runs until the metrics of a step are there, and then no further."""
    write = logs.MetricsLog.write

    def stop(self, at, *rest):
        if at == step:
            raise RuntimeError("as if the machine had gone")
        write(self, at, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(logs.MetricsLog, "write", stop)
        with pytest.raises(RuntimeError, match="gone"):
            train_and_evaluate.run(config(), str(path))


def test_a_run_stopped_twice_and_its_newest_checkpoint_damaged(
    folder, reference, tmp_path, monkeypatch, capsys
):
    steps = folder / "circles/checkpoints"
    stopped_at(4, folder, monkeypatch)
    stopped = finished_steps(steps)[-1]
    rows = logs.read_rows(folder / "circles/metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    stopped_at(6, folder, monkeypatch)
    assert f"resume      from step {stopped} of 6" in capsys.readouterr().out
    before, newest = finished_steps(steps)
    for name in list(paths.walk_files(steps / f"{newest}/state")):
        epath.Path(name).write_bytes(b"damaged")
    train_and_evaluate.run(config(), str(folder))
    said = capsys.readouterr().out
    assert f"{steps / str(newest)} cannot be read: " in said
    assert f"resume      from step {before} of 6" in said
    assert (steps / f"{newest}.unreadable").is_dir()
    same_run(folder, reference, tmp_path)
    train_and_evaluate.run(config(), str(folder))
    assert "finished    earlier" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"holds a run of another config \(method.nan_at: "
    ):
        train_and_evaluate.run(config(method=method(nan_at=99)), str(folder))


def test_a_checkpoint_that_is_not_complete_is_none(folder):
    for name in ("2/commit_success.txt", "2/state/a", "4/state/a", "x/a"):
        (folder / "checkpoints" / name).write_text("")
    assert finished_steps(folder / "checkpoints") == [2]
    assert newest_step(folder / "checkpoints") == 2
    assert workdir.has_begun(folder)
    (folder / "checkpoints/2/commit_success.txt").unlink()
    assert not workdir.has_begun(folder)


def test_logs_that_cannot_be_copied_are_one_sentence(folder, monkeypatch):
    log = logs.MetricsLog(folder, 0)
    log.write(1, 0.5, "joint", (0,), {"L": np.ones(1)})
    log.flush()

    def copy(*_, **__):
        raise OSError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "copy", copy)
        with pytest.raises(UserError, match=rf"to {folder} \(no network\); give"):
            log.flush()
    log.close()
    assert len(logs.read_rows(folder / "metrics.jsonl")) == 1


def test_what_another_process_writes_is_seen(folder, store):
    atomic_files.write_text(folder / "a.txt", "1")
    assert paths.list_entries(folder) == [folder / "a.txt"]
    name = urllib.parse.quote(f"{folder.name}/a.txt", safe="")
    for_upload = f"{store['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/bucket/o"
    request = urllib.request.Request(
        f"{for_upload}?uploadType=media&name={name}", b"longer", method="POST"
    )
    urllib.request.urlopen(request).close()
    assert paths.fingerprint(folder / "a.txt")[0] == 6
    assert (folder / "a.txt").read_text() == "longer"


def test_parts_are_merged(folder, reference, capsys):
    object_store.upload(reference, f"{folder}/parts/seed_0")
    other = object_store.upload(reference, f"{folder}/parts/seed_1")
    for file in (other / "config.json", other / "circles/details.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "seeds": [1]}))
    merge.merge(f"{folder}/parts/seed_*", f"{folder}/merged")
    train_and_evaluate.run(config(seeds=(0, 1), write_maps=False), f"{folder}/merged")
    assert "finished    earlier" in capsys.readouterr().out
    assert "circles" in (folder / "merged/report.md").read_text()


def test_a_study_of_runs(folder, capsys):
    cells = {"variation_model": Cell(method=VariationModel(image_size=32))}
    fields = {"num_devices": 1, "estimate": False, "write_maps": True}
    study = make_study(
        Benchmark, {"circles": make_group(runs.circles(), cells)}, **fields
    )
    for _ in range(2):
        runner.run(study, str(folder))
    assert "1 run x 1 category, 1 finished" in capsys.readouterr().out
    written = [path.name for path in paths.list_folder(folder)[1]]
    assert {f"benchmark.{form}" for form in ("json", "md", "pdf", "png")} < set(written)
    assert (folder / "circles/variation_model/report.md").exists()


def test_programs_are_kept(folder, monkeypatch):
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_enable_xla_caches")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    try:
        keep_in_workdir(folder)
        # Of GPUs alone, and of disks alone.
        assert jax.config.jax_persistent_cache_enable_xla_caches == "none"
        compilation_cache.reset_cache()
        jax.jit(lambda x: 3 * x)(np.ones(7, np.float32))
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
    kept = [path.name for path in paths.list_entries(folder / ".programs")]
    assert [name.partition("-")[0] for name in kept] == ["jit__lambda"]


def test_two_processes(folder, reference, tmp_path):
    module = "__import__('runs.test_object_store', fromlist=['config'])"
    body = f"{module}.config(num_devices=2, checkpoint_minutes=5.0)"
    file = runs.write_config(tmp_path, body)
    arguments = [f"--config={file}", f"--workdir={folder}"]
    ended = test_multihost.ends(test_multihost.start_two(arguments))
    assert [code for code, *_ in ended] == [0, 0], ended
    assert f"workdir     {folder} has no locks: " in ended[0][1]
    assert finished_steps(folder / "circles/checkpoints") == [6]
    assert (folder / "report.md").exists()
    rows = [logs.read_rows(f / "circles/metrics.jsonl") for f in (folder, reference)]
    names = [name for name in rows[0][0] if name.startswith("L_")]
    assert names
    two, one = ([[row[name] for name in names] for row in own] for own in rows)
    np.testing.assert_allclose(two, one, rtol=1e-3)  # sums in another order
