"""Files of a disk or of an object store (gs://): names, listings, reading.

Paths are `epath.Path`s, which know both. What the two do differently is here: an
object store has no folders, no links, no renaming and no appending; an object appears
whole or not at all.
"""

import functools
import hashlib
import io
import os
from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

from etils import epath

from gcad_jax.core.errors import UserError, as_os_errors, one_line

Path: TypeAlias = str | os.PathLike[str]


def as_path(path: Path) -> epath.Path:
    """A path as a user gives it: of a disk, or of an object store.

    Raises:
      UserError: a kind of store that is not known, one whose package is missing, or
        one that cannot be reached.
    """
    if not is_local(path):
        _check_reachable(os.fspath(path))
    return epath.Path(path)


def is_local(path: Path) -> bool:
    """Whether it is on a disk of this machine, and in no object store."""
    return "://" not in os.fspath(path)


@functools.cache
def _check_reachable(path: str) -> None:
    """Raises as `as_path` does; that nothing is there yet is no mistake."""
    from fsspec import config

    # gcsfs would keep every listing as long as the process lives; sizes and names may
    # have been changed by others since.
    config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    try:
        found = epath.Path(path)
    except KeyError as error:
        raise UserError(
            f"{path} begins with {error.args[0]}, which is not known; give a folder of "
            "a disk, or of Google Cloud Storage as gs://BUCKET/FOLDER."
        ) from error
    try:
        found.exists()
    except ImportError as error:
        needed = "pip install 'gcad_jax[gcs]'" if path.startswith("gs:") else error
        raise UserError(
            f"{path} needs a package that is not installed: {needed}."
        ) from error
    except Exception as error:  # every store raises its own kinds
        raise UserError(
            f"{path} cannot be reached ({one_line(error)}); check its name, the "
            "network and your credentials."
        ) from error


def check_on_disk(path: Path, field: str) -> None:
    """Raises UserError for an object store, where TFDS needs a disk. field: of it."""
    if not is_local(path):
        raise UserError(
            f"{field} is {path}; TFDS reads its packed files from a disk alone, so "
            "give a folder of this machine."
        )


def make_absolute(path: Path) -> epath.Path:
    """The path without '..', from the root of the disk or of the store."""
    return epath.Path(os.path.abspath(path) if is_local(path) else path)


def resolve(path: Path) -> epath.Path:
    """The same with links followed, which an object store does not have."""
    return epath.Path(os.path.realpath(path) if is_local(path) else path)


def is_same_file(one: Path, other: Path) -> bool:
    """Whether both are there and are one file."""
    if is_local(one) and is_local(other):
        both = os.path.exists(one) and os.path.exists(other)
        return both and os.path.samefile(one, other)
    return os.fspath(epath.Path(one)) == os.fspath(epath.Path(other))


def list_entries(folder: epath.Path) -> list[epath.Path]:
    """All that lies in a folder, by name; links to nothing, too."""
    if is_local(folder):  # epath would leave out what ends in ~
        return [folder / name for name in sorted(os.listdir(folder))]
    folders, files = list_folder(folder)
    return sorted([*folders, *files])


def list_folder(folder: epath.Path) -> tuple[list[epath.Path], list[epath.Path]]:
    """Folders and files directly in a folder, each by name; links are followed."""
    if is_local(folder):
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        folders = [entry.name for entry in entries if entry.is_dir()]
        files = [entry.name for entry in entries if entry.is_file()]
    else:  # both from one request
        _, folders, files = next(folder.walk(), (folder, [], []))
        folders, files = sorted(folders), sorted(filter(None, files))
    return [folder / name for name in folders], [folder / name for name in files]


def walk_files(folder: epath.Path) -> Iterator[str]:
    """Every file in a folder and its subfolders, in order; names: there may be many."""
    if is_local(folder):
        for place, folders, names in os.walk(folder):
            folders.sort()
            yield from (os.path.join(place, name) for name in sorted(names))
        return
    inner, files = list_folder(folder)
    yield from map(os.fspath, files)
    for further in inner:
        yield from walk_files(further)


def fingerprint(path: epath.Path) -> tuple[int, int]:
    """Size of a file, and a number that changes with its contents: mostly its time."""
    if is_local(path):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    about = path.stat()
    if about.mtime:
        return about.length, about.mtime
    # Some stores are not asked for the time.
    return about.length, int(hashlib.sha256(path.read_bytes()).hexdigest()[:16], 16)


def as_readable(path: Path) -> str | io.BytesIO:
    """What libraries read a file from: its name, or its contents if it has none here.

    Raises OSError where it cannot be fetched.
    """
    if is_local(path):
        return os.fspath(path)
    with as_os_errors():
        return io.BytesIO(epath.Path(path).read_bytes())


def open_file(path: Path) -> BinaryIO:
    """A file to read from at any place; raises OSError."""
    source = as_readable(path)
    return open(source, "rb") if isinstance(source, str) else source


def make_folder(folder: epath.Path) -> None:
    """Makes a folder, also those above it; an object store needs none.

    Raises OSError where it cannot.
    """
    if is_local(folder):
        folder.mkdir(parents=True, exist_ok=True)
