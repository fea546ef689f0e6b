"""The flags and the exit codes of the command that scores a folder of maps."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import map_folders as folders
from helpers import runs

from gcad_jax.core.errors import UserError
from gcad_jax.runs import score_maps

LOGICAL_MAP = "maps/pushpins/test/logical_anomalies/000.tiff"

# The command, where no file can grow beyond a kilobyte.
ON_A_FULL_DISK = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
runpy.run_module("gcad_jax.evaluate", run_name="__main__")
"""


def command(
    root: pathlib.Path, *further: str, maps: str = "", full_disk: bool = False
) -> subprocess.CompletedProcess[str]:
    """Scores the maps under `root`."""
    return subprocess.run(
        [
            sys.executable,
            *(["-c", ON_A_FULL_DISK] if full_disk else ["-m", "gcad_jax.evaluate"]),
            "--object_name=pushpins",
            f"--dataset_base_dir={root}/data",
            f"--anomaly_maps_dir={maps or root / 'maps'}",
            f"--output_dir={root}/out",
            *further,
        ],
        cwd=runs.ROOT,
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    assert done.stdout == ""
    return runs.one_sentence(done.stderr)


def test_scores_a_folder(tmp_path):
    folders.make_loco(tmp_path)
    done = command(
        tmp_path,
        "--num_parallel_workers",
        "2",
        "--curve_max_distance=0.001",
        "--niceness=1",
    )
    assert done.returncode == 0, done
    assert done.stderr == ""
    assert done.stdout.startswith("--curve_max_distance has no effect")
    metrics = folders.metrics(tmp_path / "out")
    assert metrics["classification"]["auc_roc"]["mean"] == 1


def test_refuses_a_damaged_map(tmp_path):
    folders.make_loco(tmp_path)
    (tmp_path / LOGICAL_MAP).write_bytes(b"II*\0\x08\0\0\0\xff\xff")
    assert "logical_anomalies/000.tiff" in refused(command(tmp_path))
    assert not os.path.lexists(tmp_path / "out")


@pytest.mark.parametrize("file", ["curves.png", "details.json"])
def test_a_full_disk_names_the_file(tmp_path, file):
    pytest.importorskip("matplotlib.font_manager")  # writes its list of fonts here
    folders.make_loco(tmp_path)
    if file == "details.json":  # the first where there is no curve
        (tmp_path / "maps/pushpins/test/good/000.tiff").unlink()
        (tmp_path / "maps/pushpins/test/good/001.tiff").unlink()
        full = np.full((folders.HEIGHT, folders.WIDTH), 200, np.uint8)
        for mask in (tmp_path / "data/pushpins/ground_truth").rglob("*.png"):
            folders.save_mask(mask, full)
    sentence = refused(command(tmp_path, full_disk=True))
    assert f"{tmp_path}/out/{file} cannot be written (File too large)" in sentence
    assert ".part" not in sentence
    assert list((tmp_path / "out").iterdir()) == []


def test_several_folders_of_maps(tmp_path):
    """Each as if it were alone."""
    folders.make_loco(tmp_path)
    (tmp_path / "maps").rename(tmp_path / "ours")
    shutil.copytree(tmp_path / "ours", tmp_path / "theirs")
    scores = np.zeros((folders.HEIGHT, folders.WIDTH), np.float32)
    folders.save_map(tmp_path / "theirs/pushpins/test/good/000.tiff", scores + 1)
    done = command(tmp_path, maps=f"{tmp_path}/ours,{tmp_path}/theirs")
    assert done.returncode == 0, done
    metrics = [folders.metrics(tmp_path / "out" / name) for name in ("ours", "theirs")]
    aurocs = [found["classification"]["auc_roc"]["mean"] for found in metrics]
    assert aurocs == [1, 0.75]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["ours", "theirs"]
    alone = score_maps.evaluate(
        "pushpins", tmp_path / "data", tmp_path / "theirs", tmp_path / "alone"
    )
    assert folders.metrics(tmp_path / "alone") == metrics[1]
    assert alone.seeds == (0,)


@pytest.mark.parametrize("maps", ["a/maps,b/maps", "a,", ",a", "a,.."])
def test_refuses_folders_of_maps_without_names_of_their_own(maps):
    with pytest.raises(UserError, match=r"^anomaly_maps_dir=.* a name of its own"):
        score_maps.output_folders(maps, "out")


def test_a_comma_in_the_name_of_a_folder(tmp_path):
    (tmp_path / "a,b").mkdir()
    found = score_maps.output_folders(f"{tmp_path}/a,b", "out")
    assert found == {pathlib.Path("out"): tmp_path / "a,b"}
