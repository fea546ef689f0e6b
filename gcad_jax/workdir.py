"""The folder of a run: created, locked, and tied to one config."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from gcad_jax.checks import UserError
from gcad_jax.config import differences
from gcad_jax.data.category import Category


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
            old = dict(json.loads(file.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{file} does not hold the config of a run ({error}); choose another "
                "--workdir."
            ) from error
        if changed := differences(old, config):
            raise UserError(
                f"--workdir={folder} holds a run of another config ("
                + "; ".join(changed)
                + "); repeat its values to continue it, or choose another --workdir."
            )
    _write_json(file, config)


def check_data(folder: pathlib.Path, category: Category) -> None:
    """Ties the folder of a category to the images that its training began with.

    Raises:
      UserError: the training or validation images are others than before.
    """
    file = folder / "data.json"
    found = {
        split: {
            "images": len(images),
            "sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        }
        for split, images in (
            ("train", category.train),
            ("validation", category.validation),
        )
    }
    if file.exists():
        before = json.loads(file.read_text())
        for split, images in found.items():
            if images != before[split]:
                raise UserError(
                    f"the {split} images of {category.name} are not those that "
                    f"{folder} was begun with ({before[split]['images']} then, "
                    f"{images['images']} now, or others); restore them, or choose "
                    "another --workdir."
                )
    _write_json(file, found)


def _write_json(file: pathlib.Path, value: dict[str, Any]) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(temporary, file)
