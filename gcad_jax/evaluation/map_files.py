"""Anomaly maps as TIFF files, in the folders of the official evaluation program.

They lie in MAPS/CATEGORY/test/FOLDER/IMAGE.tiff (or .tif), where FOLDER is a kind of
image in MVTec LOCO AD's layout and a defect type in MVTec AD's.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import atomic_file
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_readable, list_entries
from gcad_jax.data.dataset import TestImage
from gcad_jax.evaluation.map_source import MapSource

MAPS = "anomaly_maps"  # of a run, in the folder of a category
SUFFIXES = (".tiff", ".tif")


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

    paths = [p for s in SUFFIXES if (p := path.with_suffix(s)).is_file()]
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


def list_checked_entries(folder: epath.Path) -> list[epath.Path]:
    """What lies in `folder`, sorted, without hidden names.

    Raises UserError for a link to nothing, which a listing by kind would pass over.
    """
    paths = [p for p in list_entries(folder) if not p.name.startswith(".")]
    for path in paths:
        check_symlink(path)
    return paths


def check_symlink(path: epath.Path) -> None:
    """Raises UserError where `path` is a symbolic link to nothing."""
    if os.path.islink(path) and not path.exists():
        raise UserError(
            f"{path} is a symbolic link to {os.readlink(path)}, which does not exist; "
            "mend or remove the link."
        )


def subfolders(folder: epath.Path) -> list[str]:
    """Names of the folders in `folder`, sorted; raises as `list_checked_entries`."""
    return [path.name for path in list_checked_entries(folder) if path.is_dir()]


def list_maps(folder: epath.Path) -> dict[str, epath.Path]:
    """The maps below MAPS/CATEGORY/test by the name of their image ("good/000").

    Raises:
      UserError: no such folder, no map in it, a map that is no file, an image with two
        maps, or a link to nothing.
    """
    for path in (folder, *folder.parents):
        check_symlink(path)
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; it must hold the anomaly maps, such as "
            f"{folder / 'good' / '000.tiff'}."
        )
    maps: dict[str, epath.Path] = {}
    for name in subfolders(folder):
        for path in list_checked_entries(folder / name):
            if path.suffix not in SUFFIXES:
                continue
            if not path.is_file():
                raise UserError(
                    f"{path} is not a file; it must be an anomaly map, or be removed."
                )
            image = f"{name}/{path.stem}"
            if image in maps:
                raise UserError(
                    f"{path} and {maps[image].name} beside it are maps of one image; "
                    "remove one."
                )
            maps[image] = path
    if not maps:
        raise UserError(
            f"{folder} holds no anomaly map; it must hold one TIFF for each test "
            f"image, such as {folder / 'good' / '000.tiff'}."
        )
    return maps


def maps_of_images(
    maps: Mapping[str, epath.Path], images: Sequence[TestImage], folder: epath.Path
) -> list[epath.Path]:
    """The map of each image; `maps` are those listed in `folder`.

    Raises:
      UserError: an image without a map, or a map without an image: both mean that the
        maps are not of these images, and either would change the numbers unseen.
    """
    names = [image.name for image in images]
    if missing := [name for name in names if name not in maps]:
        raise UserError(
            f"{folder / missing[0]}.tiff does not exist, like the maps of "
            f"{len(missing)} of the {len(names)} test images; every test image needs "
            "its anomaly map."
        )
    if extra := sorted(set(maps) - set(names)):
        raise UserError(
            f"{maps[extra[0]]} is the map of no test image that the data set knows, "
            f"like {len(extra)} of the {len(maps)} maps; add its image or ground "
            "truth, or remove the map."
        )
    return [maps[name] for name in names]


def map_size(path: epath.Path) -> tuple[int, int]:  # (H, W)
    """Of a map, from the header of its file; raises UserError as `read_map` does."""
    import tifffile

    shape: tuple[int, ...] = ()
    with contextlib.suppress(Exception), tifffile.TiffFile(as_readable(path)) as file:
        shape = file.series[0].shape
    if len(shape) != 2:
        shape = read_map(path).shape  # says what is wrong
    return int(shape[0]), int(shape[1])


def map_file_source(
    paths: Sequence[epath.Path], images: Sequence[TestImage]
) -> MapSource:
    """Reads the maps, `paths[i]` that of `images[i]`; threads may share it.

    It raises UserError, with the name of the file, for what `read_map` refuses, for
    another size than that of the image, and for NaN or infinite scores.
    """

    def read_checked(i: int) -> np.ndarray:
        scores = read_map(paths[i])
        height, width = images[i].height, images[i].width
        if scores.shape != (height, width):
            raise UserError(
                f"{paths[i]} is a map of {scores.shape[1]} x {scores.shape[0]} pixels, "
                f"but its test image has {width} x {height}; maps are not resized, "
                "write them at the size of their image."
            )
        if not (np.isfinite(scores.max()) and np.isfinite(scores.min())):
            raise UserError(
                f"{paths[i]} holds NaN or infinite scores; every score must be finite."
            )
        return scores

    return read_checked
