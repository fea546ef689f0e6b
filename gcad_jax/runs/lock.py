"""The lock of a workdir: one command at a time runs in it, readers share it."""

import contextlib
import fcntl
from collections.abc import Iterator

from etils import epath

from gcad_jax.core import multihost
from gcad_jax.core.atomic_files import check_writable
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path, as_path, is_local, make_folder

LOCK = ".lock"  # in the folder; stays there, unlocked, when a run has ended


class InUse(UserError):
    """Another process runs in the folder."""


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
