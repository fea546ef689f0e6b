"""Natural images to pretrain on: a folder of files, or an image set of TFDS.

Images are read when they are needed and kept decoded while they fit; one that cannot
be read is named once, counted, and replaced by the next one.
"""

import dataclasses
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Sequence

import numpy as np
from etils import epath

from gcad_jax.core import fields
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, check_on_disk, walk_files
from gcad_jax.data.images import SUFFIXES, Source, read_image

FEWEST = 2  # one to train on, one to hold out
GIVE_UP = 100  # unreadable images in a row


@dataclasses.dataclass(eq=False)
class Photos:
    """Which images, and how many of them are held out."""

    root: str = fields.field("")
    """A folder, searched with its subfolders; or "" for `tfds_name` [ours]."""
    tfds_name: str = fields.field("")
    """An image set of TFDS with a feature 'image', such as 'imagenet2012'; it must have
    been prepared in the format array_record [ours]."""
    tfds_split: str = fields.field("train")
    """Such as 'train' or 'train[:10%]' [ours]."""
    tfds_dir: str = fields.field("")
    """Where TFDS keeps its sets, on a disk; '' for its default [ours]."""
    held_out_fraction: float = fields.field(0.05, fields.FRACTION)
    """What is not trained on; at least one (fraction of the images) [ours]."""
    memory_gib: float = fields.field(4.0, fields.NOT_NEGATIVE, run_only=True)
    """Decoded images are kept in memory up to this (GiB) [ours]."""

    def load(self, say: Callable[[str], None]) -> "PhotoSet":
        """The images, found but not read yet.

        say: called with a sentence about each image that cannot be read.

        Raises:
          UserError: no images, or both or neither of root and tfds_name.
        """
        if bool(self.root) == bool(self.tfds_name):
            raise UserError(
                f"data.root is {self.root!r} and data.tfds_name is "
                f"{self.tfds_name!r}; give one of them: a folder of images with "
                "data.root=FOLDER, or a set of TFDS with data.tfds_name=NAME.",
                "data.root",
                "data.tfds_name",
            )
        if not 0 < self.held_out_fraction < 1:
            raise UserError(
                f"data.held_out_fraction is {self.held_out_fraction}; it must lie "
                "between 0 and 1."
            )
        sources: Sequence[Source]
        if self.root:
            sources = names = _find_files(as_path(self.root))
        else:
            sources, names = _open_tfds(self.tfds_name, self.tfds_split, self.tfds_dir)
        where = self.root or f"{self.tfds_name} ({self.tfds_split})"
        if len(sources) < FEWEST:
            raise UserError(
                f"{where} has {len(sources)} images; {FEWEST} or more are needed, with "
                f"the suffix {', '.join(SUFFIXES)}."
            )
        return PhotoSet(sources, names, where, int(self.memory_gib * 2**30), say)

    def split(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train on and rows held out, the same in every run."""
        order = np.random.default_rng(0).permutation(count)
        held_out = min(count - 1, max(1, round(self.held_out_fraction * count)))
        return np.sort(order[held_out:]), np.sort(order[:held_out])


class PhotoSet:
    """Images by number; safe to read from several threads."""

    def __init__(
        self,
        sources: Sequence[Source],
        names: Sequence[str],
        where: str,
        memory_bytes: int,
        say: Callable[[str], None],
    ) -> None:
        self.where = where
        self.unreadable: dict[int, str] = {}
        self._sources, self._names, self._say = sources, names, say
        self._kept: dict[int, np.ndarray] = {}
        self._free = memory_bytes
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sources)

    def digest(self) -> str:
        """SHA-256 of the names below the folder: which images these are."""
        names = "\n".join(name.removeprefix(self.where) for name in self._names)
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()

    def __getstate__(self) -> dict[str, object]:
        # A worker process reads for itself; it shares nothing with this one.
        return self.__dict__ | {"_lock": None, "_kept": {}, "_say": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock, self._say = threading.Lock(), functools.partial(print, flush=True)

    def read(
        self, row: int, among: np.ndarray | None = None
    ) -> np.ndarray:  # (H, W, 3) uint8
        """The image, or the next one that can be read.

        among: sorted rows that may take its place, so that a held-out image is not
            trained on; all by default.

        Raises:
          UserError: if `GIVE_UP` images in a row cannot be read.
        """
        rows = np.arange(len(self)) if among is None else among
        first = int(np.searchsorted(rows, row))
        tries = min(len(rows), GIVE_UP)
        for i in range(tries):
            image = self._read_or_skip(int(rows[(first + i) % len(rows)]))
            if image is not None:
                return image
        raise UserError(
            f"{tries} images of {self.where} in a row cannot be read, such as "
            f"{self._names[row]}; give a folder of readable images."
        )

    def _read_or_skip(self, row: int) -> np.ndarray | None:
        image = self._kept.get(row)
        if image is not None or row in self.unreadable:
            return image
        try:
            image = read_image(self._sources[row], 3, self._names[row])
        except UserError as error:
            with self._lock:
                known = row in self.unreadable
                self.unreadable[row] = str(error)
            if not known:
                self._say(f"skipped     {error}")
            return None
        with self._lock:
            if row not in self._kept and image.nbytes <= self._free:
                self._free -= image.nbytes
                self._kept[row] = image
        return image


def _find_files(root: epath.Path) -> list[str]:
    if not root.is_dir():
        raise UserError(
            f"data.root={root} is not a folder; give a folder of natural images."
        )
    return [
        name
        for name in walk_files(root)
        if name.lower().endswith(SUFFIXES)
        and not os.path.basename(name).startswith(".")
    ]


def _open_tfds(
    name: str, split: str, folder: str
) -> tuple[Sequence[Source], list[str]]:
    import tensorflow_datasets as tfds

    check_on_disk(folder, "data.tfds_dir")
    try:
        source = tfds.data_source(
            name,
            split=split,
            data_dir=folder or None,
            download=False,
            decoders={"image": tfds.decode.SkipDecoding()},
        )
    except Exception as error:  # TFDS raises many kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the TFDS set data.tfds_name={name} cannot be opened ({reason}); prepare "
            "it with tfds.builder(NAME, file_format='array_record')."
            "download_and_prepare()."
        ) from error
    return _Encoded(source), [f"{name}/{i}" for i in range(len(source))]


class _Encoded(Sequence[Source]):
    """The encoded images of a TFDS source."""

    def __init__(self, source) -> None:  # type: ignore[no-untyped-def]
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        return bytes(self._source[int(row)]["image"])
