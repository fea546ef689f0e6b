"""Small runs of the main job: as a command in a process of its own, and in this one.

Everything here is the smallest that is still whole: images of 32 x 32, networks of a
sixteenth of the paper's width, one receptive field, one phase.
"""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import gcad_jax
from gcad_jax.config import Experiment
from gcad_jax.data.circles import Circles
from gcad_jax.methods.gcad import GCAD

ROOT = pathlib.Path(__file__).parents[2]
# Of a checkout or of an installed wheel, whichever is tested.
PACKAGE = pathlib.Path(gcad_jax.__file__).parent
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def circles(**fields: Any) -> Circles:
    """Twelve training images of 32 x 32 with a disc of radius 5."""
    small: dict[str, Any] = {
        "num_train": 12,
        "num_validation": 3,
        "num_test": 2,
        "side": 32,
        "radius": 5,
        "region_radius_min": 2,
        "region_radius_max": 4,
        "blur_sigma": 0.5,
        "min_distance": 14,
    }
    return Circles(**{**small, **fields})


def method(**fields: Any) -> GCAD:
    """GCAD with one phase."""
    small: dict[str, Any] = {
        "image_size": 32,
        "epochs": 1,
        "batch_size": 2,
        "P": (17,),
        "d_loc": 4,
        "width": 1 / 16,
        "E_loc_width": 1 / 16,
        "teacher": "random",
        "R_glo_start": 0.0,
        "skip_end": 0.0,
        "inference_batch_size": 4,
    }
    return GCAD(**{**small, **fields})


def tiny(**fields: Any) -> Experiment:
    """A whole run of six steps."""
    small: dict[str, Any] = {
        "data": circles(),
        "method": method(),
        "num_devices": 1,
        "log_every": 1,
        "figure_images": 0,  # drawing takes longer than six steps
    }
    return Experiment(**{**small, **fields})


def write_config(folder: pathlib.Path, body: str) -> pathlib.Path:
    """A config file whose get_config(preset) has this body."""
    file = folder / "tiny.py"
    text = f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\n"
    text += "from helpers import doubles, runs\n"
    text += "from gcad_jax.data.folder import Folder\n"
    text += "from gcad_jax.data.loco import MvtecLocoAd\n\n\n"
    text += f"def get_config(preset=''):\n    return {body}\n"
    file.write_text(text)
    return file


def environment(devices: int = 1) -> dict[str, str]:
    """Of the subprocesses; how they compile, and keep it, they have from conftest."""
    own = {"JAX_PLATFORMS": "cpu", "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    own["JAX_NUM_CPU_DEVICES"] = str(devices)
    return {**os.environ, **own}


def start(arguments: Sequence[str], devices: int = 1) -> subprocess.Popen[str]:
    """`python -m gcad_jax.main ARGUMENTS` in the background, its output in one pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "gcad_jax.main", *arguments],
        cwd=ROOT,
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(
    arguments: Sequence[str], devices: int = 1
) -> subprocess.CompletedProcess[str]:
    """The same until it ends."""
    process = start(arguments, devices)
    try:
        out, err = process.communicate(timeout=300)
    except BaseException:
        process.kill()  # or it would run on beside the tests that follow
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode or 0, out, err)


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 200
) -> None:
    """Returns when `condition` holds; fails where the process ends before."""
    end = time.monotonic() + seconds
    try:
        while not condition():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "the run did not come that far in time"
            time.sleep(0.002)
    except BaseException:
        process.kill()  # or it would run on beside the tests that follow
        process.communicate()
        raise


def one_sentence(error: str) -> str:
    """What stands behind 'error: ', after checking that it is all there is."""
    assert error.startswith("error: "), error
    assert error.count("\n") == 1, error
    assert error.endswith(".\n") or error.endswith("?\n"), error
    assert "Traceback" not in error
    return error.removeprefix("error: ").strip()


def checkpoint_steps(category: pathlib.Path) -> list[int]:
    """Steps of the finished checkpoints of a category."""
    folder = category / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def saved_state(category: pathlib.Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint by its path, read without the package."""
    import jax
    import orbax.checkpoint as ocp

    step = checkpoint_steps(category)[-1]
    folder = (category / "checkpoints" / str(step) / "state").absolute()
    with ocp.PyTreeCheckpointer() as reader:
        # As NumPy arrays, whatever devices and processes had them.
        there = reader.metadata(folder).item_metadata.tree
        as_numpy = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), there
        )
        tree = reader.restore(
            folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy)
        )
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def leftovers(folder: pathlib.Path) -> list[str]:
    """Files that a write to a temporary name left behind, or has not renamed yet."""
    ends = (".tmp", ".part")
    # A run may rename and delete folders meanwhile: os.walk passes over those.
    paths = [
        pathlib.Path(inside, name)
        for inside, folders, files in os.walk(folder)
        for name in (*folders, *files)
    ]
    paths = [p for p in paths if ".programs" not in p.parts]
    return [
        str(p) for p in paths if p.suffix in ends or "orbax-checkpoint-tmp" in p.name
    ]
