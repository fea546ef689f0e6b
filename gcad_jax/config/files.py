"""Config files: a user's own, or those that come with the package."""

import dataclasses
import difflib
import pathlib
import runpy
import traceback
from typing import Any

from gcad_jax.core.errors import UserError

FOLDER = "configs"
_PACKAGE = pathlib.Path(__file__).parents[1]
# In a wheel they are inside the package, in a checkout beside it.
SHIPPED = next(
    (f for f in (_PACKAGE / FOLDER, _PACKAGE.parent / FOLDER) if f.is_dir()),
    _PACKAGE / FOLDER,
)


def locate(path: str) -> str:
    """'configs/NAME.py:preset' -> the same, or the file of the package.

    A file that is there is taken; only where there is none, and the name is that of one
    that comes with the package, that one is.
    """
    file, colon, preset = path.partition(":")
    own = pathlib.Path(file)
    shipped = SHIPPED / own.name
    if own.exists() or str(own.parent) != FOLDER or not shipped.is_file():
        return path
    return f"{shipped}{colon}{preset}"


def load(path: str) -> Any:
    """What get_config of 'file.py' or 'file.py:preset' returns.

    Raises:
      UserError: no such file or preset, or an error in the file.
    """
    file, *preset = locate(path).split(":", 1)
    if not pathlib.Path(file).is_file():
        raise _no_file(path, pathlib.Path(file))
    try:
        functions = runpy.run_path(file)
        if "get_config" not in functions:
            raise UserError(
                f"config={path}: {file} has no function 'get_config'.", "config"
            )
        config = functions["get_config"](*preset)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"config={path}: {type(error).__name__}{_line(error, file)}: "
            f"{getattr(error, 'msg', error)}.",
            "config",
        ) from error
    if not dataclasses.is_dataclass(config):
        raise UserError(
            f"config={path}: get_config returns {config!r}; it must return a "
            "gcad_jax.config.Experiment, or a study.",
            "config",
        )
    return config


def _no_file(path: str, file: pathlib.Path) -> UserError:
    """With the nearest there is, in the same folder or of the package."""
    folder = file if file.is_dir() else file.parent
    shipped = {f.stem: f"{FOLDER}/{f.name}" for f in sorted(SHIPPED.glob("*.py"))}
    there = {f.stem: str(f) for f in sorted(folder.glob("*.py"))}
    names = {**shipped, **there}
    if close := difflib.get_close_matches(file.stem, names, n=1, cutoff=0.5):
        hint = f"Did you mean {names[close[0]]!r}?"
    else:
        hint = f"There are: {', '.join((there or shipped).values())}."
    return UserError(f"config={path}: there is no file {file}. {hint}", "config")


def _line(error: Exception, file: str) -> str:
    """' in line N of FILE', where the error arose there."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f" in line {error.lineno} of {file}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f" in line {lines[-1]} of {file}" if lines else ""
