"""Anomaly maps at the size of their test image, one at a time.

Evaluation asks a `MapSource` for the map of one image after the other, so that the
maps of a category at full resolution never exist together.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import atomic_file
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_readable
from gcad_jax.core.threads import Scratch
from gcad_jax.data.dataset import TestImage
from gcad_jax.data.resize import upsample

MapSource: TypeAlias = Callable[[int], np.ndarray]  # image index -> (H, W) real

MAPS = "anomaly_maps"  # of a run, in the folder of a category
_SUFFIXES = (".tiff", ".tif")


@dataclasses.dataclass(frozen=True)
class Upsampled:
    """Source of network-size maps (N, s, s); zooms each to its image when asked for."""

    maps: np.ndarray
    images: Sequence[TestImage]

    def __call__(self, i: int, space: Scratch | None = None) -> np.ndarray:
        """The map of one image; in `space`, until the thread asks for the next."""
        image = self.images[i]
        return upsample(self.maps[i], image.height, image.width, space)


def upsampled(maps: np.ndarray, images: Sequence[TestImage]) -> Upsampled:
    """Raises ValueError where the number of maps is not that of the images."""
    if maps.ndim != 3 or len(maps) != len(images):
        raise ValueError(f"maps has shape {maps.shape}; expected ({len(images)}, s, s)")
    return Upsampled(maps, images)


def read(source: MapSource, i: int, space: Scratch) -> np.ndarray:  # (H, W)
    """One map; it may lie in `space`, until the thread reads the next."""
    return source(i, space) if isinstance(source, Upsampled) else source(i)


def map_path(
    folder: str | os.PathLike[str], category: str, image: TestImage
) -> epath.Path:
    """Where the official layout keeps a map: FOLDER/CATEGORY/test/KIND/ID.tiff."""
    name = image.name if "/" in image.name else f"{image.kind}/{image.name}"
    return epath.Path(folder) / category / "test" / f"{name}.tiff"


def write_maps(
    folder: str | os.PathLike[str],
    category: str,
    images: Sequence[TestImage],
    source: MapSource,
) -> None:
    """Writes every map as a float32 TIFF of the size of its image.

    Raises UserError where a file cannot be written.
    """
    import tifffile

    for i, image in enumerate(images):
        path = map_path(folder, category, image)
        with atomic_file(path) as part:
            tifffile.imwrite(part, np.asarray(source(i), np.float32))


def read_map(path: epath.Path) -> np.ndarray:  # (H, W), real
    """Reads one map; `path` may also end in the other of .tiff and .tif.

    Raises UserError for a map that is missing, there twice, damaged, not 2-D or not
    real.
    """
    import tifffile

    found = [p for s in _SUFFIXES if (p := path.with_suffix(s)).is_file()]
    if len(found) != 1:
        raise UserError(
            f"There are {len(found)} anomaly maps {path} (.tiff or .tif); every test "
            "image needs exactly one."
        )
    try:
        scores = tifffile.imread(as_readable(found[0]))
    except Exception as error:  # of a damaged TIFF, from any of its fields
        raise UserError(
            f"{found[0]} is not a readable TIFF ({error}); write the map again."
        ) from error
    if scores.ndim != 2 or scores.dtype.kind not in "fiub" or not scores.size:
        raise UserError(
            f"{found[0]} holds {scores.dtype} of shape {scores.shape}; an anomaly map "
            "is a 2-D TIFF of real numbers."
        )
    return scores


def stored(
    folder: str | os.PathLike[str], category: str, images: Sequence[TestImage]
) -> MapSource:
    """Source of the TIFF maps of the official layout."""
    return lambda i: read_map(map_path(folder, category, images[i]))
