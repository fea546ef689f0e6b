"""What may be imported, and both worked examples as they stood in version 0.1.0.

Beside `gcad_jax.load` the paths of tests/data/v0_1_0/imports.json go on working
wherever the code behind them moves: config files, methods and data sets of others
import them. The list is there, and not here, so that no renaming reaches it.
"""

import importlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import outside

import gcad_jax

PATHS = outside.expected("imports")
DATA_SETS = {
    "circles": "Circles",
    "folder": "Folder",
    "loco": "MvtecLocoAd",
    "mvtec_ad": "MvtecAd",
    "photos": "Photos",
}
WORKED = outside.expected("worked")


def imported(files):
    """Module -> names that Python files import of the package."""
    lines = [line for file in files for line in file.read_text().splitlines()]
    found = [re.match(r"from (gcad_jax[\w.]*) import (.+)", line) for line in lines]
    for module, names in [match.groups() for match in found if match]:
        for name in names.split(", "):
            name = name.partition(" as ")[0]
            if module in ("gcad_jax", "gcad_jax.methods"):
                yield f"{module}.{name}", None
            else:
                yield module, name


def test_every_path_of_the_list_is_there():
    assert len(PATHS) == 17
    for module, names in PATHS.items():
        for name in names:
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_the_list_has_what_the_examples_import():
    files = list((outside.FILES / "worked").rglob("*.py"))
    assert len(files) == 5
    own = {"gcad_jax.methods.mean_features", "gcad_jax.data.panels"}
    own |= {f"gcad_jax.methods.{name}" for name in outside.METHODS}
    there = set(imported(files))
    assert len(there) > 20
    for module, name in there:
        if module not in own:
            assert name is None or name in PATHS[module], (module, name)
            assert module in PATHS


@pytest.mark.parametrize("room", ["methods", "data"])
def test_methods_and_data_sets_are_where_config_files_find_them(room):
    names = outside.METHODS if room == "methods" else DATA_SETS
    for module, name in names.items():
        kind = getattr(importlib.import_module(f"gcad_jax.{room}.{module}"), name)
        assert kind.__name__ == name
        kind()  # all fields have defaults


def test_load_is_found_in_the_package_though_nothing_has_asked_for_it():
    assert "load" in dir(gcad_jax)


def test_configs_can_be_made_in_python():
    from gcad_jax.config import Experiment, Pretraining
    from gcad_jax.data.circles import Circles
    from gcad_jax.data.photos import Photos
    from gcad_jax.methods.gcad import GCAD
    from gcad_jax.pretraining.distillation import Distillation

    experiment = Experiment(data=Circles(), method=GCAD(epochs=3), seeds=(1, 2))
    assert experiment.method.epochs == 3
    assert experiment.seeds == (1, 2)
    pretraining = Pretraining(data=Photos(), method=Distillation(), P=(17,))
    assert pretraining.P == (17,)


@pytest.mark.parametrize("p", [17, 33, 65])
def test_weights_of_E_loc_are_found_by_their_path(p):
    from gcad_jax.methods.gcad import GCAD

    images = np.arange(2 * 64 * 64 * 3).reshape(2, 64, 64, 3) % 251
    images = images.astype(np.uint8)
    weights = outside.pathlib.Path(gcad_jax.__file__).parent / "models/weights"
    trees = []
    for teacher in ("shipped", str(weights / "E_loc_{p}_32.npz")):
        method = GCAD(
            image_size=64, P=(p,), d_loc=32, E_loc_width=1 / 8, teacher=teacher
        )
        method.validate()
        trees.append(method.prepare(images))
    arrays = [outside.leaves(tree) for tree in trees]
    assert len(arrays[0]) == len(arrays[1]) > 5
    for shipped, by_path in zip(*arrays, strict=True):
        np.testing.assert_array_equal(shipped, by_path)


@pytest.mark.long
@pytest.mark.parametrize("name", ["new_method", "new_data_set"])
def test_a_worked_example_runs_as_it_stood_there(name, tmp_path):
    package = outside.pathlib.Path(gcad_jax.__file__).parent
    shutil.copytree(package, tmp_path / "gcad_jax")
    code = outside.FILES / "worked" / name
    for file in code.rglob("*.py"):
        target = tmp_path / file.relative_to(code)
        assert not target.exists()
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
    if name == "new_data_set":
        subprocess.run([sys.executable, "make_panels.py"], cwd=tmp_path, check=True)
    before = WORKED[name]
    words = ["-m", "gcad_jax.main", *before["command"], "--workdir=run"]
    done = outside.python(words, tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    category = tmp_path / "run" / before["category"]
    made = outside.read_json(category / "metrics.json")
    outside.check_numbers(made, before["metrics"], atol=1e-3)
    title = "Mean Features" if name == "new_method" else "Variation Model"
    assert f"| {title} (this run) |" in (tmp_path / "run/report.md").read_text()
    # Its detector names a module that only that copy of the package has.
    words = ["-c", "import gcad_jax; print(gcad_jax.load('run').branches)"]
    assert outside.python(words, tmp_path, tmp_path).stdout == "()\n"
