"""Image files as a user names them on the command line."""

import collections
import fnmatch
import os
from collections.abc import Sequence

from etils import epath

from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, list_folder, walk_files
from gcad_jax.data.images import SUFFIXES
from gcad_jax.evaluation.map_files import MAPS

OVERLAYS = "overlays"  # in the folder of the output


def images_of(given: str, output: epath.Path) -> dict[str, epath.Path]:
    """Image files by the names of their results, in order.

    given: a folder, searched with its sub-folders, a file, a pattern with * and ?, or
        several of these with commas between. The name of an image is its path below
        the folder without the suffix, or with it where two differ in nothing else.
    output: what `predict` wrote there is left out, for it may be, or lie in, the folder
        of the images.

    Raises:
      UserError: nothing there, or no image in it.
    """
    own = tuple(f"{os.path.abspath(output / name)}/" for name in (MAPS, OVERLAYS))
    parts = [given] if as_path(given).expanduser().exists() else given.split(",")
    found: list[tuple[epath.Path, str]] = []  # and its path below what was given
    for part in filter(None, (part.strip() for part in parts)):
        place = as_path(part).expanduser()
        if place.is_dir():
            found += [
                (as_path(file), os.path.relpath(file, place))
                for file in walk_files(place)
                if file.lower().endswith(SUFFIXES)
                and not os.path.basename(file).startswith(".")
                and not os.path.abspath(file).startswith(own)
            ]
        elif place.is_file():
            found.append((place, place.name))
        else:
            found += [(path, path.name) for path in _matching(place)]
    if not found:
        raise UserError(
            f"images={given} has no image ({', '.join(SUFFIXES)}); give a folder, a "
            "file, or a pattern in quotes.",
            "images",
        )
    return _named(found)


def _matching(pattern: epath.Path) -> list[epath.Path]:
    """Files of a folder whose names match the last part of a pattern."""
    if not pattern.parent.is_dir() or not set("*?[") & set(pattern.name):
        raise UserError(
            f"images={pattern}: there is no {pattern}; give a folder, a file, or a "
            "pattern in quotes.",
            "images",
        )
    files = list_folder(pattern.parent)[1]
    return [file for file in files if fnmatch.fnmatchcase(file.name, pattern.name)]


def _named(found: Sequence[tuple[epath.Path, str]]) -> dict[str, epath.Path]:
    found = list(dict.fromkeys(found))  # a file that was named twice
    stems = [os.path.splitext(name)[0] for _, name in found]
    often = collections.Counter(stems)
    named: dict[str, epath.Path] = {}
    for (path, name), stem in zip(found, stems, strict=True):
        own = stem if often[stem] == 1 else name
        if own in named and os.fspath(named[own]) != os.fspath(path):
            raise UserError(
                f"{named[own]} and {path} would both be called {own} in the output; "
                "give them in commands of their own."
            )
        named[own] = path
    return named
