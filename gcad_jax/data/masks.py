"""One mask file -> which defect it shows, and its pixels."""

import pathlib

import numpy as np
from PIL import Image

from gcad_jax.checks import UserError
from gcad_jax.data.category import Region
from gcad_jax.data.images import read_image, read_mask
from gcad_jax.data.layout import Record
from gcad_jax.data.saturation import Defect, saturation


def identify(record: Record) -> list[Defect]:
    """The defect that each mask of `record` shows, in the order of the masks.

    Raises:
      UserError: an unreadable mask, one of another size than its image, without or
        with several positive values, of a value that no defect has, or whose
        saturation is 0 pixels.
    """
    if not record.masks:
        return []
    size = _size(record.image)
    return [_defect(path, record, size) for path in record.masks]


def region(
    mask: bytes, defect: Defect, size: tuple[int, int], name: str
) -> Region:  # size: (H, W) of the image
    """The region of an encoded mask that `identify` accepted; `name` is for errors."""
    pixels = np.flatnonzero(read_mask(mask, size, name)).astype(np.int32)
    return Region(
        defect_name=defect.defect_name,
        pixel_value=defect.pixel_value,
        saturation_threshold=defect.saturation_threshold,
        relative_saturation=defect.relative_saturation,
        pixels=pixels,
    )


def _defect(path: pathlib.Path, record: Record, size: tuple[int, int]) -> Defect:
    mask = read_mask(path, size, image_name=str(record.image))
    positive = mask[mask > 0]
    if not positive.size:
        raise UserError(
            f"{path} is a mask without any positive pixel; it must mark a defect of "
            f"{record.image}, or be removed."
        )
    low, high = int(positive.min()), int(positive.max())
    if low != high:
        raise UserError(
            f"{path} is a mask with several positive values (such as {low} and "
            f"{high}); a mask shows one defect by one value, so split it, and zoom "
            "masks without interpolation."
        )
    by_value = {defect.pixel_value: defect for defect in record.defects}
    if low not in by_value:
        raise UserError(
            f"{path} is a mask of pixel value {low}, which no defect of this "
            f"category has; known values: {', '.join(map(str, sorted(by_value)))} "
            "(see defects_config.json in MVTec LOCO AD)."
        )
    defect = by_value[low]
    saturation(
        defect.saturation_threshold,
        defect.relative_saturation,
        positive.size,
        str(path),
    )
    return defect


def _size(path: pathlib.Path) -> tuple[int, int]:  # (H, W)
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception:
        # Says in one sentence what is wrong with the file.
        return read_image(path, 1).shape[:2]
