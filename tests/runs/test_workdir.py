"""The folder of a run: locked, and tied to its config and its images."""

import errno
import json
import os
import pathlib
import re
import threading

import numpy as np
import pytest
from helpers import runs

from gcad_jax.core.errors import UserError
from gcad_jax.runs import lock, workdir
from gcad_jax.runs.lock import InUse, lock_for_reading, lock_workdir


def opened(folder: pathlib.Path, config: dict) -> pathlib.Path:
    with workdir.open_workdir(str(folder), config) as found:
        return found


def test_folder_is_made_and_holds_the_config(tmp_path: pathlib.Path) -> None:
    folder = opened(tmp_path / "a/b", {"epochs": 3})
    assert folder == tmp_path / "a/b"
    assert json.loads((folder / "config.json").read_text()) == {"epochs": 3}
    assert runs.leftovers(folder) == []


def test_same_config_opens_it_again(tmp_path: pathlib.Path) -> None:
    opened(tmp_path, {"epochs": 3})
    opened(tmp_path, {"epochs": 3})


def test_free_fields_may_change_and_the_new_value_is_kept(
    tmp_path: pathlib.Path,
) -> None:
    opened(tmp_path, {"epochs": 3, "checkpoint_minutes": 5.0})
    opened(tmp_path, {"epochs": 3, "checkpoint_minutes": 1.0})
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["checkpoint_minutes"] == 1.0


def begin(category: pathlib.Path) -> None:
    """As the first checkpoint of a category does."""
    (category / "checkpoints" / "12").mkdir(parents=True)


def test_other_config_is_refused_with_both_values(tmp_path: pathlib.Path) -> None:
    opened(tmp_path, {"epochs": 3, "method": {"g": 32}})
    begin(tmp_path / "circles")
    expected = re.escape("(epochs: 3 -> 4; method.g: 32 -> 64)")
    with pytest.raises(UserError, match=expected):
        opened(tmp_path, {"epochs": 4, "method": {"g": 64}})


def test_a_run_that_was_refused_may_be_mended_in_the_same_folder(
    tmp_path: pathlib.Path,
) -> None:
    opened(tmp_path, {"epochs": 3, "cache_features": True})
    (tmp_path / "circles").mkdir()  # refused before its first checkpoint
    opened(tmp_path, {"epochs": 3, "cache_features": False})
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["cache_features"] is False


def test_lock_is_released_after_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RuntimeError), workdir.open_workdir(str(tmp_path), {}):
        raise RuntimeError
    opened(tmp_path, {})


def test_lock_holds_while_open(tmp_path: pathlib.Path) -> None:
    with (
        workdir.open_workdir(str(tmp_path), {}),
        pytest.raises(UserError, match="in use"),
        workdir.open_workdir(str(tmp_path), {}),
    ):
        raise AssertionError("opened twice")


def test_a_lock_can_be_waited_for(tmp_path: pathlib.Path) -> None:
    entered = threading.Event()

    def other() -> None:
        with lock_workdir(tmp_path, wait=True):
            entered.set()

    thread = threading.Thread(target=other)
    with lock_workdir(tmp_path):
        thread.start()
        assert not entered.wait(0.3)
    thread.join(10)
    assert entered.is_set()


def test_readers_share_a_folder_in_which_no_run_can_begin(
    tmp_path: pathlib.Path,
) -> None:
    with lock_for_reading(tmp_path):
        assert not list(tmp_path.iterdir()), "nothing is written"
    opened(tmp_path, {})
    with (
        lock_for_reading(tmp_path),
        lock_for_reading(tmp_path),
        pytest.raises(InUse),
    ):
        opened(tmp_path, {})
    with (
        lock_workdir(tmp_path),
        pytest.raises(InUse, match="still at work"),
    ):
        lock_for_reading(tmp_path).__enter__()


def test_without_locks_it_says_so(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    with (
        pytest.raises(UserError, match="has locks") as caught,
        lock_workdir(tmp_path),
    ):
        raise AssertionError("entered")
    assert not isinstance(caught.value, InUse)


def test_same_images_pass_and_others_do_not(tmp_path: pathlib.Path) -> None:
    category = runs.circles().load("circles", 32, 3)
    assert not workdir.check_data(tmp_path, category)
    begin(tmp_path)
    assert workdir.check_data(tmp_path, category)
    # Other test images are no mistake, but have to be evaluated.
    category.test[0, 0, 0, 0] ^= 1
    assert not workdir.check_data(tmp_path, category)
    assert workdir.check_data(tmp_path, category)
    # One pixel of one image.
    category.train[5, 7, 3, 1] ^= 1
    with pytest.raises(UserError, match="the train images of circles are not"):
        workdir.check_data(tmp_path, category)
    category.train[5, 7, 3, 1] ^= 1
    workdir.check_data(tmp_path, category)
    category.validation[...] = np.uint8(0)
    with pytest.raises(UserError, match="the validation images of circles"):
        workdir.check_data(tmp_path, category)


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_a_begun_run_without_its_list_of_images_is_said(
    tmp_path: pathlib.Path, content: str | None
) -> None:
    category = runs.circles().load("circles", 32, 3)
    workdir.check_data(tmp_path, category)
    begin(tmp_path)
    file = tmp_path / "data.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=r"data\.json does not say .* restore it, or"):
        workdir.check_data(tmp_path, category)
