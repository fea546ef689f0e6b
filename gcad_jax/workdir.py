"""The folder of a run: created, locked, and tied to one config."""

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from gcad_jax.checks import UserError
from gcad_jax.config import differences


@contextlib.contextmanager
def opened(path: str, config: dict[str, Any]) -> Iterator[pathlib.Path]:
    """The folder, ours alone while the block runs, with `config.json` in it.

    Raises:
      UserError: it cannot be written, another process runs in it, or it holds a run
        of another config (the sentence names the fields that differ).
    """
    folder = pathlib.Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(
            f"--workdir={path} cannot be written ({error.strerror}); choose a folder "
            "that you may write to."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"--workdir={path} is in use by another process; wait for it to end, "
                "or choose another folder."
            ) from error
        _check_config(folder, config)
        yield folder


def _check_config(folder: pathlib.Path, config: dict[str, Any]) -> None:
    file = folder / "config.json"
    if file.exists():
        try:
            old = json.loads(file.read_text())
        except ValueError as error:
            raise UserError(
                f"{file} is not readable as JSON ({error}); choose another --workdir."
            ) from error
        if changed := differences(old, config):
            raise UserError(
                f"--workdir={folder} holds a run of another config ("
                + "; ".join(changed)
                + "); repeat its values to continue it, or choose another --workdir."
            )
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(config, indent=2) + "\n")
    os.replace(temporary, file)
