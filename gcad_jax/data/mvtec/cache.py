"""Packs a category with its TFDS builder once, and reads what was packed.

The packed form lies in a cache folder whose name depends on the path, size and time
of every file of the category, so a changed folder is packed again, never served stale.
"""

import contextlib
import hashlib
import io
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import check_on_disk, fingerprint, resolve
from gcad_jax.data.mvtec.files import FileLayout

# What a full disk, a missing or a truncated file of the cache raises.
_DAMAGED = (OSError, RuntimeError, KeyError)
# What a killed run left behind is removed when it is older than this, in seconds.
ABANDONED = 24 * 3600


def load_packed(layout: FileLayout, cache_dir: str) -> dict[str, Sequence[Any]]:
    """The examples of each split of `layout`, in its order, from the cache.

    cache_dir: where the cache is; '' for $XDG_CACHE_HOME or ~/.cache.

    Raises:
      UserError: what the builder finds wrong with the files, or a cache that cannot
        be written.
    """
    cache = cache_folder(cache_dir)
    folder = cache / digest_layout(layout)
    if folder.is_dir():
        try:
            return _open_sources(layout, folder)
        except _DAMAGED as error:
            logging.warning("%s is damaged (%s), packing again", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    logging.info("packing %s into %s", layout.folder, folder)
    try:
        _pack(layout, folder)
        return _open_sources(layout, folder)
    except _DAMAGED as error:
        raise UserError(
            f"The data cache {cache} cannot be written ({error}); set "
            "data.cache_dir=PATH to a folder with enough space.",
            "data.cache_dir",
        ) from error


def cache_folder(cache_dir: str) -> pathlib.Path:
    """`cache_dir`, or the user's cache, with gcad_jax/tfds below it; on a disk."""
    check_on_disk(cache_dir, "data.cache_dir")
    base = cache_dir or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(base).expanduser().absolute() / "gcad_jax" / "tfds"


def digest_layout(layout: FileLayout) -> str:
    """A folder name: category, hash of where it is, hash of what is there."""
    folder = resolve(layout.folder)
    listing = hashlib.sha256()
    for path in layout.files:
        size, modified = fingerprint(path)
        name = path.relative_to(layout.folder)
        listing.update(f"{name}\0{size}\0{modified}\n".encode())
    place = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    return "-".join((layout.dataset, layout.category, place, listing.hexdigest()[:16]))


def _pack(layout: FileLayout, folder: pathlib.Path) -> None:
    """Packs into a temporary folder that becomes `folder` only when it is complete."""
    import tensorflow_datasets as tfds

    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    temporary = pathlib.Path(
        tempfile.mkdtemp(prefix=f"{folder.name}.incomplete", dir=folder.parent)
    )
    try:
        downloads = temporary / "downloads"  # TFDS wants one; it stays empty
        with _silence_tfds():
            _make_builder(layout, temporary).download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=layout.folder.parent, try_download_gcs=False
                ),
            )
        shutil.rmtree(downloads, ignore_errors=True)
        _open_sources(layout, temporary)  # before anyone can see it
        try:
            os.replace(temporary, folder)
        except OSError:
            if not folder.is_dir():  # else another run was first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(folder: pathlib.Path) -> None:
    """Removes what was packed from earlier states of the same category."""
    place = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"{place}-*"):
        if ".incomplete" in other.name:
            with contextlib.suppress(FileNotFoundError):  # that run has just ended
                if time.time() - other.stat().st_mtime < ABANDONED:
                    continue
        if other != folder:  # else another run has just packed it
            shutil.rmtree(other, ignore_errors=True)


def _make_builder(layout: FileLayout, folder: pathlib.Path) -> Any:
    """The TFDS builder of what is packed in `folder`, or will be."""
    from gcad_jax.data.mvtec import builders

    kinds = {
        kind.name: kind
        for kind in (builders.MvtecLocoAdBuilder, builders.MvtecAdBuilder)
    }
    return kinds[layout.dataset](data_dir=folder, config=layout.category)


def _open_sources(layout: FileLayout, folder: pathlib.Path) -> dict[str, Sequence[Any]]:
    from gcad_jax.data.mvtec.builders import DECODERS

    with _silence_tfds():
        builder = _make_builder(layout, folder)
        sources = {
            split: builder.as_data_source(split, decoders=DECODERS)
            for split in layout.splits
        }
        for split, records in layout.splits.items():
            if len(sources[split]) != len(records):
                raise RuntimeError(
                    f"{len(sources[split])} of {len(records)} images of {split}"
                )
            sources[split][len(records) - 1]  # opens the file, which finds it damaged
    return sources


@contextlib.contextmanager
def _silence_tfds() -> Iterator[None]:
    """TFDS prints where it downloads to, although nothing is downloaded."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
