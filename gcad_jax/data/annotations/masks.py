"""One mask file -> which defect it shows, and its pixels."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_readable
from gcad_jax.data.annotations.saturation import Defect, saturation
from gcad_jax.data.dataset import Region
from gcad_jax.data.images import read_image, read_mask
from gcad_jax.data.mvtec.files import Record


def identify_defects(record: Record) -> list[Defect]:
    """The defect that each mask of `record` shows, in the order of the masks.

    Raises UserError as `read_defect_mask` does.
    """
    if not record.masks:
        return []
    size = read_size(record.image)
    name = str(record.image)
    return [
        read_defect_mask(path, size, name, record.defects)[0] for path in record.masks
    ]


def read_defect_mask(
    path: epath.Path,
    size: tuple[int, int],
    image_name: str,
    defects: Sequence[Defect],
) -> tuple[Defect, np.ndarray]:
    """The defect that a mask shows, and its pixels: (A,) int32 flat indices.

    size: (H, W) of the image. image_name: for the error about another size.

    Raises:
      UserError: an unreadable mask, one of another size than its image, without or
        with several positive values, of a value that no defect has, or whose
        saturation is 0 pixels.
    """
    mask = read_mask(path, size, image_name=image_name).reshape(-1)
    pixels = np.flatnonzero(mask).astype(np.int32)
    if not pixels.size:
        raise UserError(
            f"{path} is a mask without any positive pixel; it must mark a defect, or "
            "be removed."
        )
    low, high = int(mask[pixels].min()), int(mask[pixels].max())
    if low != high:
        raise UserError(
            f"{path} is a mask with several positive values (such as {low} and "
            f"{high}); a mask shows one defect by one value, so split it, and zoom "
            "masks without interpolation."
        )
    by_value = {defect.pixel_value: defect for defect in defects}
    if low not in by_value:
        raise UserError(
            f"{path} is a mask of pixel value {low}, which no defect of this "
            f"category has; known values: {', '.join(map(str, sorted(by_value)))} "
            "(see defects_config.json in MVTec LOCO AD)."
        )
    shown = by_value[low]
    threshold, relative = shown.saturation_threshold, shown.relative_saturation
    saturation(threshold, relative, pixels.size, str(path))  # raises with its name
    return shown, pixels


def decode_region(
    mask: bytes, defect: Defect, size: tuple[int, int], name: str
) -> Region:  # size: (H, W) of the image
    """The region of an encoded mask that was identified; `name` is for errors."""
    pixels = np.flatnonzero(read_mask(mask, size, name)).astype(np.int32)
    return make_region(defect, pixels)


def make_region(defect: Defect, pixels: np.ndarray) -> Region:
    """The region of these pixels, (A,) int32 flat indices."""
    return Region(**dataclasses.asdict(defect), pixels=pixels)


def read_size(path: epath.Path) -> tuple[int, int]:  # (H, W)
    """Of an image, from the header of its file; raises UserError where it cannot."""
    try:
        with Image.open(as_readable(path)) as image:
            return image.height, image.width
    except Exception:
        # Says in one sentence what is wrong with the file.
        height, width = read_image(path, 1).shape[:2]
        return height, width
