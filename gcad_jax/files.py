"""Files that are written whole or not at all: a kill leaves the old one or none."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from gcad_jax.checks import UserError

Path: TypeAlias = str | os.PathLike[str]
ADVICE = "free space there or choose another folder"


@contextlib.contextmanager
def written(path: Path, advice: str = ADVICE) -> Iterator[pathlib.Path]:
    """Yields a temporary name beside `path`; what is written there becomes `path`.

    The folder is made where it is missing. If the block raises, nothing is left.

    Args:
      path: the file, replaced if it exists.
      advice: end of the sentence of the error, what to do.

    Blocks may be nested, so that several files appear together or none; the path of
    an inner one is then the name that an outer one yields.

    Raises:
      UserError: the file cannot be written, or not wholly; it names the final file.
    """
    path = pathlib.Path(path)
    part = path.with_name(f".{path.name}{_part()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise UserError(
            f"{_final(path)} cannot be written ({error.strerror or error}); {advice}."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _part() -> str:
    """How the temporary names of this process end."""
    return f".{os.getpid()}.part"


def _final(path: pathlib.Path) -> pathlib.Path:
    """The file that `path` becomes, which may be the temporary name of one."""
    name = path.name
    while name.startswith(".") and name.endswith(_part()):
        name = name[1 : -len(_part())]
    return path.with_name(name)


def check_writable(folder: Path, names: Sequence[str], flag: str) -> None:
    """Raises UserError, before any work, where files `names` could not be written.

    flag: that named the folder. Nothing is created.
    """
    folder = pathlib.Path(folder)
    if blocked := [folder / name for name in names if (folder / name).is_dir()]:
        raise UserError(
            f"{flag}={folder} cannot be written: {blocked[0]} is a folder, where a "
            f"result must be written; remove it, or choose another {flag}."
        )
    there = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise UserError(
            f"{flag}={folder} cannot be written ({there}: {error.strerror}); choose "
            f"another {flag}."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Writes a text file; raises UserError where it cannot."""
    with written(path) as part:
        part.write_text(text, encoding="utf-8")
