"""Images as users give them: names on the command line, paths, arrays."""

import collections
import fnmatch
import os
from collections.abc import Sequence

import numpy as np
from etils import epath

from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, list_folder, walk_files
from gcad_jax.data.images import SUFFIXES, read_image, to_channels
from gcad_jax.evaluation.map_files import MAPS
from gcad_jax.inference.prediction import ImageSource

OVERLAYS = "overlays"  # in the folder of the output


def find_images(given: str, output: epath.Path) -> dict[str, epath.Path]:
    """Image files by the names of their results, in order.

    given: a folder, searched with its sub-folders, a file, a pattern with * and ?, or
        several of these with commas between. The name of an image is its path below
        the folder without the suffix, or with it where two differ in nothing else.
    output: what `predict` wrote there is left out, for it may be, or lie in, the folder
        of the images.

    Raises:
      UserError: nothing there, or no image in it.
    """
    outputs = tuple(f"{os.path.abspath(output / name)}/" for name in (MAPS, OVERLAYS))
    # A comma may be part of a name that exists.
    parts = [given] if as_path(given).expanduser().exists() else given.split(",")
    images: list[tuple[epath.Path, str]] = []  # and its path below what was given
    for part in filter(None, (part.strip() for part in parts)):
        place = as_path(part).expanduser()
        if place.is_dir():
            images += [
                (as_path(file), os.path.relpath(file, place))
                for file in walk_files(place)
                if file.lower().endswith(SUFFIXES)
                and not os.path.basename(file).startswith(".")
                and not os.path.abspath(file).startswith(outputs)
            ]
        elif place.is_file():
            images.append((place, place.name))
        else:
            if not place.parent.is_dir() or not set("*?[") & set(place.name):
                raise UserError(
                    f"images={place}: there is no {place}; give a folder, a file, or a "
                    "pattern in quotes.",
                    "images",
                )
            images += [
                (file, file.name)
                for file in list_folder(place.parent)[1]
                if fnmatch.fnmatchcase(file.name, place.name)
            ]
    if not images:
        raise UserError(
            f"images={given} has no image ({', '.join(SUFFIXES)}); give a folder, a "
            "file, or a pattern in quotes.",
            "images",
        )
    return _by_result_name(images)


def _by_result_name(
    images: Sequence[tuple[epath.Path, str]],
) -> dict[str, epath.Path]:
    images = list(dict.fromkeys(images))  # a file that was named twice
    stems = [os.path.splitext(name)[0] for _, name in images]
    uses = collections.Counter(stems)
    named: dict[str, epath.Path] = {}
    for (path, name), stem in zip(images, stems, strict=True):
        result = stem if uses[stem] == 1 else name
        if result in named and os.fspath(named[result]) != os.fspath(path):
            raise UserError(
                f"{named[result]} and {path} would both be called {result} in the "
                "output; give them in commands of their own."
            )
        named[result] = path
    return named


def read_pixels(
    source: ImageSource, channels: int
) -> np.ndarray:  # (H, W, channels) uint8
    """An image as a method takes it; raises UserError for one that cannot be used."""
    if isinstance(source, (str, os.PathLike)):
        return read_image(as_path(source).expanduser(), channels)
    if hasattr(source, "__array__") or hasattr(source, "__array_interface__"):
        source = np.asarray(source)  # of Pillow or of JAX
    if not isinstance(source, np.ndarray):
        raise UserError(
            f"an image is a {type(source).__name__}; images are paths or uint8 arrays."
        )
    gray = source.ndim == 2 or source.shape[2:] == (1,)
    color = source.shape[2:] == (3,)
    if source.dtype != np.uint8 or not (gray or color) or not source.size:
        raise UserError(
            f"an image is {source.dtype} of shape {source.shape}; images are uint8 of "
            "shape (H, W, 3), (H, W, 1) or (H, W)."
        )
    if gray:
        return np.repeat(source.reshape(*source.shape[:2], 1), channels, axis=-1)
    return to_channels(source, channels)
