"""Checkpoints: exact, atomic, and borne when one is damaged."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import doubles

from gcad_jax.core.errors import UserError
from gcad_jax.training.checkpoint import Checkpoints
from gcad_jax.training.step import StepOptions

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = {"seeds": [0, 7], "method": {"g": 32}}


@pytest.fixture(scope="module")
def method():
    return dataclasses.replace(doubles.Linear(), traces=[])


@pytest.fixture(scope="module")
def trained(method):
    """A function: states of two seeds after some updates (momentum is not zero)."""
    phase = method.phases(4)[1]
    resources = doubles.resources_of(method, doubles.random_images(18))

    def steps(states, count):
        rows = np.arange(8, dtype=np.int32).reshape(1, 2, 4)
        for _ in range(count):
            states, _ = doubles.on_devices(
                phase, doubles.IDENTITY, StepOptions(), 1, states, resources, rows
            )
        return states

    return steps


@pytest.fixture
def fresh(method):
    return doubles.states_of(method, (0, 7))


def opened(folder):
    return Checkpoints(folder, CONFIG, doubles.layout_of(1))


def saved(folder, states, steps=(2,)):
    checkpoints = opened(folder)
    for step in steps:
        checkpoints.save(step, states.replace(step=states.step * 0 + step))
    checkpoints.close()


def test_all_of_a_state_comes_back_bit_for_bit(tmp_path, trained, fresh):
    states = trained(fresh, 2)
    saved(tmp_path, states)
    step, restored = opened(tmp_path).restore(fresh, print)
    assert step == 2
    doubles.assert_equal(restored, states)
    assert jax.tree.structure(restored) == jax.tree.structure(fresh)
    assert jax.dtypes.issubdtype(restored.key.dtype, jax.dtypes.prng_key)
    for before, after in zip(
        jax.tree.leaves(fresh), jax.tree.leaves(restored), strict=True
    ):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
    momentum = jax.tree.leaves(doubles.host(restored.opt_state))
    assert all(np.any(leaf != 0) for leaf in momentum)


def test_training_goes_on_while_a_save_is_written(tmp_path, trained, fresh):
    """The step donates the very buffers that are being saved."""
    states = trained(fresh, 1)
    copy = doubles.host(states)
    checkpoints = opened(tmp_path)
    checkpoints.save(1, states)
    later = trained(states, 3)
    checkpoints.wait()
    doubles.assert_equal(checkpoints.restore(fresh, print)[1], copy)
    assert int(later.step[0]) == 4


def test_the_newest_two_are_kept_with_their_config(tmp_path, fresh):
    saved(tmp_path, fresh, (1, 2, 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]
    config = json.loads((tmp_path / "3" / "config" / "metadata").read_text())
    assert config == CONFIG


def test_an_empty_folder_has_no_checkpoint(tmp_path, fresh):
    checkpoints = opened(tmp_path / "new")
    assert checkpoints.restore(fresh, print) is None


def test_a_save_that_a_kill_interrupted_is_not_seen(tmp_path, fresh):
    """Orbax writes to <step>.orbax-checkpoint-tmp*, then renames."""
    saved(tmp_path, fresh, (2,))
    (tmp_path / "3.orbax-checkpoint-tmp-7").mkdir()
    assert opened(tmp_path).restore(fresh, print)[0] == 2


FULL_DISK = """
import pathlib, resource, sys
from helpers import doubles
from gcad_jax.core.checks import UserError
from gcad_jax.training.checkpoint import Checkpoints

checkpoints = Checkpoints(pathlib.Path(sys.argv[1]), {}, doubles.layout_of(1))
states = doubles.states_of(doubles.Linear(), (0, 7))
checkpoints.save(2, states)
checkpoints.save(3, states)
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))  # of every file
checkpoints.save(4, states)
for end in (checkpoints.wait, checkpoints.close):
    try:
        end()
    except UserError as error:
        print(error)
"""


def test_a_save_that_does_not_fit_leaves_the_ones_before(tmp_path, fresh):
    """In a process of its own, because the limit holds for all that it writes."""
    folder = tmp_path / "checkpoints"
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    said = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder)],
        env=os.environ | {"PYTHONPATH": paths},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert said
    for sentence in said:
        assert sentence.startswith(
            f"a checkpoint cannot be written to {folder} (File too large); "
        )
        assert "free space there and give the same command again" in sentence
    checkpoints = opened(folder)
    step, _ = checkpoints.restore(fresh, print)
    assert step == 3
    checkpoints.save(4, fresh)  # its place is free
    checkpoints.close()
    assert opened(folder).restore(fresh, print)[0] == 4


def damage_all(folder):
    """Cuts every file of a checkpoint's state in half."""
    files = [path for path in (folder / "state").rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove_state(folder):
    for path in sorted((folder / "state").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("damage", [damage_all, remove_state])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path, fresh, damage
):
    saved(tmp_path, fresh, (2, 3))
    damage(tmp_path / "3")
    said = []
    checkpoints = opened(tmp_path)
    step, restored = checkpoints.restore(fresh, said.append)
    assert step == 2
    doubles.assert_equal(restored, fresh.replace(step=fresh.step + 2))
    assert len(said) == 1
    assert str(tmp_path / "3") in said[0]
    assert (tmp_path / "3.unreadable").is_dir()
    checkpoints.save(3, fresh.replace(step=fresh.step + 3))  # its place is free again
    checkpoints.close()
    assert opened(tmp_path).restore(fresh, said.append)[0] == 3


def test_no_readable_checkpoint_is_the_users_to_decide(tmp_path, fresh):
    saved(tmp_path, fresh, (2, 3))
    for step in "23":
        damage_all(tmp_path / step)
    with pytest.raises(UserError, match="delete it to train from the start"):
        opened(tmp_path).restore(fresh, print)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]
