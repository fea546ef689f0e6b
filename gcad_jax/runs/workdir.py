"""The folder of a run: created, locked, and tied to one config."""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from typing import Any

from etils import epath

from gcad_jax.config.serialization import differences
from gcad_jax.core import multihost
from gcad_jax.core.atomic_files import check_writable, write_text
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path, as_path, is_local, list_folder, make_folder
from gcad_jax.data.dataset import Category
from gcad_jax.evaluation.result_files import METRICS
from gcad_jax.runs.data_digest import digest_category
from gcad_jax.training.checkpoint import CHECKPOINTS, finished_steps

# What a run writes itself; the names of its parts are where these are written.
CONFIG, DATA, LOCK, REPORT = "config.json", "data.json", ".lock", "report.md"


class InUse(UserError):
    """Another process runs in the folder."""


@contextlib.contextmanager
def open_workdir(path: str, config: dict[str, Any]) -> Iterator[epath.Path]:
    """The folder, ours alone while the block runs, with `config.json` in it.

    In an object store, which has no locks, others are not kept out: see `lock_notice`.

    Raises:
      InUse: another process runs in it.
      UserError: it cannot be written, or it holds a run of another config (the
        sentence names the fields that differ).
    """
    with lock_on_first(path) as folder:
        multihost.run_on_first(lambda: _write_config(folder, config))
        yield folder


def _write_config(folder: epath.Path, config: dict[str, Any]) -> None:
    check_config(folder, config)
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def check_workdir(path: Path, config: dict[str, Any]) -> epath.Path:
    """The folder, which need not be there; nothing is written.

    Raises:
      UserError: as `open_workdir`.
    """
    folder = as_path(path)
    check_free(folder)
    check_config(folder, config)
    return folder


def check_free(folder: epath.Path) -> None:
    """Raises UserError where the folder cannot be written, or is in use."""
    check_writable(folder, (), "workdir")
    if is_local(folder) and (folder / LOCK).exists():
        with lock_workdir(folder):
            pass


@contextlib.contextmanager
def lock_on_first(path: Path, wait: bool = False) -> Iterator[epath.Path]:
    """`lock_workdir`, for all processes of this command; the first one has the lock.

    wait: for another command to leave it.

    Raises:
      InUse, UserError: as `lock_workdir`, on every process.
    """
    with contextlib.ExitStack() as stack:
        multihost.run_on_first(
            lambda: bool(stack.enter_context(lock_workdir(path, wait)))
        )
        yield as_path(path)


def lock_notice(path: Path) -> str:
    """What to know of a folder that cannot be locked; "" for one that can."""
    if is_local(path):
        return ""
    return (
        f"{path} has no locks: give no other command the same workdir while this "
        "one runs"
    )


@contextlib.contextmanager
def lock_workdir(path: Path, wait: bool = False) -> Iterator[epath.Path]:
    """The folder, made where it is not there, and ours alone while the block runs.

    An object store has no locks: there it is not ours alone.

    wait: for another process to leave it.

    Raises:
      InUse: another process runs in it.
      UserError: it cannot be written or locked.
    """
    folder = as_path(path)
    if not is_local(folder):
        yield folder
        return
    check_writable(folder, (), "workdir")
    try:
        make_folder(folder)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise UserError(
            f"workdir={path} cannot be written ({error.strerror}); choose a folder "
            "that you may write to.",
            "workdir",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise InUse(
                f"workdir={path} is in use by another process; wait for it to end, "
                "or choose another folder.",
                "workdir",
            ) from error
        except OSError as error:
            raise UserError(
                f"workdir={path} cannot be locked ({error.strerror}); choose a "
                "folder on a file system that has locks (flock).",
                "workdir",
            ) from error
        yield folder


@contextlib.contextmanager
def lock_for_reading(folder: epath.Path) -> Iterator[None]:
    """No run begins or goes on in the folder while the block runs; readers share it.

    Nothing is written, so that runs on a read-only file system can be read, too.

    Raises:
      InUse: a run is at work in it.
    """
    if not is_local(folder) or not (folder / LOCK).exists():
        yield
        return
    with (folder / LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUse(
                f"a run is still at work in {folder}; wait for it to end."
            ) from error
        yield


def check_config(folder: epath.Path, config: dict[str, Any]) -> None:
    """Raises UserError where the folder holds a run of another config."""
    file = folder / CONFIG
    if file.exists():
        try:
            old = dict(json.loads(file.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{file} does not hold the config of a run ({error}); choose another "
                "workdir."
            ) from error
        begun = any(has_begun(category) for category in list_folder(folder)[0])
        if begun and (changed := differences(old, config)):
            raise UserError(
                f"workdir={folder} holds a run of another config ("
                + "; ".join(changed)
                + "); repeat its values to continue it, or choose another workdir.",
                "workdir",
            )


def has_begun(folder: epath.Path) -> bool:
    """Whether a category left anything that another config would contradict.

    A run that was refused before its first checkpoint did not: it may be mended and
    started again in the same folder.
    """
    return (folder / METRICS).exists() or bool(finished_steps(folder / CHECKPOINTS))


def check_data(folder: epath.Path, category: Category, update: bool = True) -> bool:
    """Ties the folder of a category to the images that its training began with.

    Returns whether the test images and their regions are those of the last call.

    update: write the digests where they are new; a plan writes nothing.

    Raises:
      UserError: the training or validation images are others than before.
    """
    digests = digest_category(category)
    before = _read_digests(folder / DATA) if has_begun(folder) else {}
    for split in ("train", "validation") if before else ():
        if digests[split] != before[split]:
            raise UserError(
                f"the {split} images of {category.name} are not those that "
                f"{folder} was begun with ({before[split]['images']} then, "
                f"{digests[split]['images']} now, or others); restore them, or choose "
                "another workdir."
            )
    same = before == digests
    if update and not same:
        # Numbers of other test images first: a kill in between must not leave them
        # valid.
        (folder / METRICS).unlink(missing_ok=True)
        write_text(folder / DATA, json.dumps(digests, indent=2) + "\n")
    return same


def _read_digests(file: epath.Path) -> dict[str, Any]:
    """Contents of data.json; raises UserError where it is gone or damaged."""
    try:
        digests = dict(json.loads(file.read_text()))
        digests["train"], digests["validation"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{file} does not say which images {file.parent} was begun with "
            f"({error!r}); restore it, or delete {file.parent} to begin again."
        ) from error
    return digests
