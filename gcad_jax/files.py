"""Files of a disk or of an object store (gs://): where they are, and written whole.

Paths are `epath.Path`s, which know both. What the two do differently is here: an
object store has no folders, no links, no renaming and no appending; an object appears
whole or not at all.
"""

import contextlib
import functools
import hashlib
import io
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from typing import BinaryIO, TypeAlias

from etils import epath

from gcad_jax.checks import UserError

Path: TypeAlias = str | os.PathLike[str]
ADVICE = "free space there or choose another folder"


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
    _keep_no_listings()
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
            f"{path} cannot be reached ({reason(error)}); check its name, the network "
            "and your credentials."
        ) from error


def _keep_no_listings() -> None:
    """Has gcsfs ask anew for sizes and names, which others may have changed since.

    It would keep every listing as long as the process lives.
    """
    from fsspec import config

    config.conf.setdefault("gcs", {})["use_listings_cache"] = False


def on_disk(path: Path, field: str) -> None:
    """Raises UserError for an object store, where TFDS needs a disk. field: of it."""
    if not is_local(path):
        raise UserError(
            f"{field} is {path}; TFDS reads its packed files from a disk alone, so "
            "give a folder of this machine."
        )


def absolute(path: Path) -> epath.Path:
    """The path without '..', from the root of the disk or of the store."""
    return epath.Path(os.path.abspath(path) if is_local(path) else path)


def resolved(path: Path) -> epath.Path:
    """The same with links followed, which an object store does not have."""
    return epath.Path(os.path.realpath(path) if is_local(path) else path)


def same_file(one: Path, other: Path) -> bool:
    """Whether both are there and are one file."""
    if is_local(one) and is_local(other):
        both = os.path.exists(one) and os.path.exists(other)
        return both and os.path.samefile(one, other)
    return os.fspath(epath.Path(one)) == os.fspath(epath.Path(other))


def listing(folder: epath.Path) -> list[epath.Path]:
    """All that lies in a folder, by name; links to nothing, too."""
    if is_local(folder):  # epath would leave out what ends in ~
        return [folder / name for name in sorted(os.listdir(folder))]
    folders, files = inside(folder)
    return sorted([*folders, *files])


def inside(folder: epath.Path) -> tuple[list[epath.Path], list[epath.Path]]:
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


def below(folder: epath.Path) -> Iterator[str]:
    """Every file in a folder and its subfolders, in order; names: there may be many."""
    if is_local(folder):
        for place, folders, names in os.walk(folder):
            folders.sort()
            yield from (os.path.join(place, name) for name in sorted(names))
        return
    inner, files = inside(folder)
    yield from map(os.fspath, files)
    for further in inner:
        yield from below(further)


def stamp(path: epath.Path) -> tuple[int, int]:
    """Size of a file, and a number that changes with its contents: mostly its time."""
    if is_local(path):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    about = path.stat()
    if about.mtime:
        return about.length, about.mtime
    # Some stores are not asked for the time.
    return about.length, int(hashlib.sha256(path.read_bytes()).hexdigest()[:16], 16)


def readable(path: Path) -> str | io.BytesIO:
    """What libraries read a file from: its name, or its contents if it has none here.

    Raises OSError where it cannot be fetched.
    """
    if is_local(path):
        return os.fspath(path)
    with _as_os_errors():
        return io.BytesIO(epath.Path(path).read_bytes())


def opened(path: Path) -> BinaryIO:
    """A file to read from at any place; raises OSError."""
    source = readable(path)
    return open(source, "rb") if isinstance(source, str) else source


@contextlib.contextmanager
def written(path: Path, advice: str = ADVICE) -> Iterator[epath.Path]:
    """Yields a temporary name on a disk; what is written there becomes `path`.

    The folder is made where it is missing. If the block raises, nothing is left.

    Args:
      path: the file, replaced if it exists.
      advice: end of the sentence of the error, what to do.

    Blocks may be nested, so that several files appear together or none; the path of
    an inner one is then the name that an outer one yields.

    Raises:
      UserError: the file cannot be written, or not wholly; it names the final file.
    """
    path = epath.Path(path)
    try:
        with _temporary(path) as part:
            yield part
            if is_local(path):
                os.replace(part, path)
            else:
                with _as_os_errors():
                    part.copy(path, overwrite=True)
    except OSError as error:
        raise UserError(
            f"{_final(path)} cannot be written ({reason(error)}); {advice}."
        ) from error


@contextlib.contextmanager
def _temporary(path: epath.Path) -> Iterator[epath.Path]:
    """A name for what becomes `path`: beside it, or in a folder of this machine."""
    name = f".{path.name}{_part()}"
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


def _part() -> str:
    """How the temporary names of this process end."""
    return f".{os.getpid()}.part"


def _final(path: epath.Path) -> epath.Path:
    """The file that `path` becomes, which may be the temporary name of one."""
    name = path.name
    while name.startswith(".") and name.endswith(_part()):
        name = name[1 : -len(_part())]
    return path.with_name(name)


@contextlib.contextmanager
def filled(folder: epath.Path) -> Iterator[str]:
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
    with _as_os_errors():
        for name in below(source):
            path = target / os.path.relpath(name, source)
            epath.Path(name).copy(path, overwrite=True)


def make_folder(folder: epath.Path) -> None:
    """Makes a folder, also those above it; an object store needs none.

    Raises OSError where it cannot.
    """
    if is_local(folder):
        folder.mkdir(parents=True, exist_ok=True)


def check_writable(folder: Path, names: Sequence[str], flag: str) -> None:
    """Raises UserError, before any work, where files `names` could not be written.

    flag: that named the folder. Nothing is created.
    """
    place = epath.Path(folder)
    if blocked := [place / name for name in names if (place / name).is_dir()]:
        raise UserError(
            f"{flag}={place} cannot be written: {blocked[0]} is a folder, where a "
            f"result must be written; remove it, or choose another {flag}."
        )
    there = place
    try:
        if is_local(place):
            there = next(p for p in (place, *place.parents) if os.path.lexists(p))
            tempfile.TemporaryFile(dir=there).close()
        else:
            _try_to_write(place)
    except OSError as error:
        raise UserError(
            f"{flag}={place} cannot be written ({there}: {reason(error)}); choose "
            f"another {flag}."
        ) from error


def _try_to_write(folder: epath.Path) -> None:
    """Writes an object into a store and removes it; raises OSError."""
    with _as_os_errors():
        trial = folder / f".{uuid.uuid4().hex}"
        trial.write_bytes(b"")
        trial.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a text file; raises UserError where it cannot."""
    with written(path) as part:
        part.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """What an object store raises, whatever it is, as OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(reason(error)) from error


def reason(error: Exception) -> str:
    """In one line: what the system says, or else the first line of what is said."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
