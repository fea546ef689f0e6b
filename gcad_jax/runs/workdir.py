"""The folder of a run: tied to one config and to the images it was begun with."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from etils import epath

from gcad_jax.config.serialization import differences
from gcad_jax.core import multihost
from gcad_jax.core.atomic_files import check_writable, write_text
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path, as_path, is_local, list_folder
from gcad_jax.data.dataset import Category
from gcad_jax.evaluation.result_files import METRICS
from gcad_jax.runs.data_digest import digest_category
from gcad_jax.runs.lock import LOCK, lock_on_first, lock_workdir
from gcad_jax.training.checkpoint import CHECKPOINTS, finished_steps

# What a run writes itself; the names of its parts are where these are written.
CONFIG, DATA, REPORT = "config.json", "data.json", "report.md"


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
        text = json.dumps(config, indent=2) + "\n"
        multihost.run_on_first(lambda: check_config(folder, config))
        multihost.run_on_first(lambda: write_text(folder / CONFIG, text))
        yield folder


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
