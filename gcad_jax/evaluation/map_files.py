"""Anomaly maps at the size of their test image, one at a time.

Evaluation asks a `MapSource` for the map of one image after the other, so that the
maps of a category at full resolution never exist together.
"""

import dataclasses
import functools
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

MapSource: TypeAlias = Callable[[int], np.ndarray]  # image index -> (H, W) real

MAPS = "anomaly_maps"  # of a run, in the folder of a category
_SUFFIXES = (".tiff", ".tif")
_PIECE = 2**17  # pixels whose intermediate values stay in the cache


def upsample(
    scores: np.ndarray, height: int, width: int, space: Scratch | None = None
) -> np.ndarray:  # (h, w) -> (height, width), dtype kept
    """Bilinear with half-pixel centers and clamped edges.

    The paper does not name the interpolation; this is the default of the common
    frameworks (`align_corners=False`). It never leaves the range of its input, keeps
    equal neighbors equal, and does not filter where a side shrinks.

    space: holds the result, until the same thread asks for the next.
    """
    if scores.shape == (height, width):
        return scores
    space = space or Scratch()
    wide = _lerp(scores.T, width, Scratch())
    return _lerp(wide.T, height, space)


def _lerp(
    rows: np.ndarray, size: int, space: Scratch
) -> np.ndarray:  # (h, w) -> (size, w)
    rows = np.ascontiguousarray(rows)
    low, _, weight = taps(rows.shape[0], size)
    weight = weight.astype(rows.dtype)[:, None]
    steps = np.diff(rows, axis=0, append=rows[-1:])
    width = rows.shape[1]
    new = space.array("map", (size, width), rows.dtype)
    piece = max(1, _PIECE // width)
    spare = space.array("rows", (min(piece, size), width), rows.dtype)
    for start in range(0, size, piece):
        part = slice(start, start + piece)
        below, step = new[part], spare[: size - start]
        # Every place is in range; "clip" says so to NumPy, which else copies.
        np.take(rows, low[part], axis=0, out=below, mode="clip")
        np.take(steps, low[part], axis=0, out=step, mode="clip")
        step *= weight[part]
        below += step
    return new


@functools.lru_cache(maxsize=64)
def taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two source rows of every new row, and the weight of the second."""
    center = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.floor(center).astype(np.intp)
    return low, np.minimum(low + 1, old - 1), center - low


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
