"""Anomaly maps as TIFF files, in the folders of the official evaluation program."""

import os
from collections.abc import Sequence

import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import atomic_file
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_readable
from gcad_jax.data.dataset import TestImage
from gcad_jax.evaluation.map_source import MapSource

MAPS = "anomaly_maps"  # of a run, in the folder of a category
_SUFFIXES = (".tiff", ".tif")


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

    paths = [p for s in _SUFFIXES if (p := path.with_suffix(s)).is_file()]
    if len(paths) != 1:
        raise UserError(
            f"There are {len(paths)} anomaly maps {path} (.tiff or .tif); every test "
            "image needs exactly one."
        )
    try:
        scores = tifffile.imread(as_readable(paths[0]))
    except Exception as error:  # of a damaged TIFF, from any of its fields
        raise UserError(
            f"{paths[0]} is not a readable TIFF ({error}); write the map again."
        ) from error
    if scores.ndim != 2 or scores.dtype.kind not in "fiub" or not scores.size:
        raise UserError(
            f"{paths[0]} holds {scores.dtype} of shape {scores.shape}; an anomaly map "
            "is a 2-D TIFF of real numbers."
        )
    return scores
