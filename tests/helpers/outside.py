"""What these tests share: the files of 0.1.0, and commands in processes of their own.

Nothing here or in these tests knows how the package is arranged inside. They import
what an outsider may import, and run commands. How the files were made stands in
tests/data/v0_1_0/README.md.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
FILES = ROOT / "tests/data/v0_1_0"
IMAGES = sorted((FILES / "images").glob("*.png"))
METHODS = {
    "autoencoder": "AE",
    "fanogan": "FAnoGAN",
    "gcad": "GCAD",
    "mnad": "MNAD",
    "spade": "SPADE",
    "student_teacher": "StudentTeacher",
    "vae": "VAE",
    "variation_model": "VariationModel",
}


def read_json(path: pathlib.Path) -> Any:
    """What a file holds."""
    return json.loads(path.read_text())


def expected(name: str) -> Any:
    """What version 0.1.0 said: a JSON file of the fixtures."""
    return read_json(FILES / f"{name}.json")


def unpack(name: str, folder: pathlib.Path) -> pathlib.Path:
    """The files of an archive of the fixtures, in a folder."""
    with tarfile.open(FILES / name) as archive:
        # Python knows filters from 3.11.4 on, and from 3.12 on it wants one.
        known = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder, **known)
    return folder


def environment(path: pathlib.Path = ROOT) -> dict[str, str]:
    """Of a process: one CPU device, modules of `path` first."""
    fixed = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "COLUMNS": "80"}
    return {**os.environ, **fixed, "PYTHONPATH": str(path)}


def python(
    words: Sequence[str], folder: pathlib.Path = ROOT, path: pathlib.Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """`python WORDS` until it ends."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(path),
        capture_output=True,
        text=True,
        timeout=240,
    )


def command(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m gcad_jax.NAME ARGUMENTS`, or `python -m gcad_jax` without a name."""
    module = f"gcad_jax.{name}".rstrip(".")
    return python(["-m", module, *arguments])


def succeeded(name: str, *arguments: str) -> str:
    """What such a command prints, after checking that it ends well."""
    done = command(name, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def digest(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_maps(made: np.ndarray, before: np.ndarray) -> None:
    """Equal within the rounding of another machine: 1e-5 of the range of the maps."""
    assert made.dtype == before.dtype == np.float32
    atol = 1e-5 * float(np.ptp(before))
    np.testing.assert_allclose(made, before, rtol=0, atol=atol)


def check_numbers(made: Any, before: Any, atol: float, rtol: float = 0) -> None:
    """The same keys and words, and numbers that are near."""
    if isinstance(before, Mapping):
        assert set(made) >= set(before)  # a later version may say more
        for name, value in before.items():
            check_numbers(made[name], value, atol, rtol)
    elif isinstance(before, list):
        assert len(made) == len(before)
        for one, other in zip(made, before, strict=True):
            check_numbers(one, other, atol, rtol)
    elif isinstance(before, float) and made is not None:
        np.testing.assert_allclose(made, before, rtol=rtol, atol=atol)
    else:
        assert made == before


def leaves(tree: Any) -> list[np.ndarray]:
    """The arrays of nested dicts, in the order of their paths."""
    if isinstance(tree, Mapping):
        return [leaf for name in sorted(tree) for leaf in leaves(tree[name])]
    return [np.asarray(tree)]
