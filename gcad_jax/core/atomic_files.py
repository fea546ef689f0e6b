"""Files that appear whole or not at all, on a disk or in an object store (gs://)."""

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence

from etils import epath

from gcad_jax.core.errors import UserError, as_os_errors, one_line
from gcad_jax.core.paths import Path, is_local, make_folder, walk_files


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[epath.Path]:
    """Yields a temporary name on a disk; what is written there becomes `path`.

    The folder is made where it is missing. If the block raises, nothing is left.

    path: the file, replaced if it exists.

    Blocks may be nested, so that several files appear together or none; the path of
    an inner one is then the name that an outer one yields.

    Raises:
      UserError: the file cannot be written, or not wholly; it names the final file.
    """
    path = epath.Path(path)
    try:
        with _temporary_path(path) as part:
            yield part
            if is_local(path):
                os.replace(part, path)
            else:
                with as_os_errors():
                    part.copy(path, overwrite=True)
    except OSError as error:
        raise UserError(
            f"{_final_path(path)} cannot be written ({one_line(error)}); free space "
            "there or choose another folder."
        ) from error


@contextlib.contextmanager
def _temporary_path(path: epath.Path) -> Iterator[epath.Path]:
    """A name for what becomes `path`: beside it, or in a folder of this machine."""
    name = f".{path.name}{_temporary_suffix()}"
    if not is_local(path):
        with tempfile.TemporaryDirectory(prefix="gcad_jax") as folder:
            yield epath.Path(folder) / name
        return
    make_folder(path.parent)
    part = path.with_name(name)
    try:
        yield part
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _temporary_suffix() -> str:
    """How the temporary names of this process end."""
    return f".{os.getpid()}.part"


def _final_path(path: epath.Path) -> epath.Path:
    """The file that `path` becomes, which may be the temporary name of one."""
    name = path.name
    while name.startswith(".") and name.endswith(_temporary_suffix()):
        name = name[1 : -len(_temporary_suffix())]
    return path.with_name(name)


@contextlib.contextmanager
def local_folder_for(folder: epath.Path) -> Iterator[str]:
    """Yields a folder of a disk for those who know no other; its files end in `folder`.

    Raises OSError where they cannot be copied into an object store.
    """
    if is_local(folder):
        yield os.fspath(folder)
        return
    with tempfile.TemporaryDirectory(prefix="gcad_jax") as place:
        yield place
        copy_tree(epath.Path(place), folder)


def copy_tree(source: epath.Path, target: epath.Path) -> None:
    """Copies all files of a folder of this machine to an object store.

    Raises OSError where it cannot.
    """
    with as_os_errors():
        for name in walk_files(source):
            path = target / os.path.relpath(name, source)
            epath.Path(name).copy(path, overwrite=True)


def check_writable(folder: Path, names: Sequence[str], field: str) -> None:
    """Raises UserError, before any work, where files `names` could not be written.

    field: that named the folder. Nothing is created.
    """
    place = epath.Path(folder)
    if blocked := [place / name for name in names if (place / name).is_dir()]:
        raise UserError(
            f"{field}={place} cannot be written: {blocked[0]} is a folder, where a "
            "result must be written; remove it, or choose another folder.",
            field,
        )
    existing = place
    try:
        if is_local(place):
            existing = next(p for p in (place, *place.parents) if os.path.lexists(p))
            tempfile.TemporaryFile(dir=existing).close()
        else:
            with as_os_errors():
                trial = place / f".{uuid.uuid4().hex}"
                trial.write_bytes(b"")
                trial.unlink()
    except OSError as error:
        raise UserError(
            f"{field}={place} cannot be written ({existing}: {one_line(error)}); "
            "choose another folder.",
            field,
        ) from error


def write_text(path: Path, text: str) -> None:
    """Writes a text file; raises UserError where it cannot."""
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")
