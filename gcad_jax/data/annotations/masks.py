"""One mask file -> the region that it shows."""

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


def read_annotated_region(
    path: epath.Path,
    size: tuple[int, int],
    image_name: str,
    defects: Sequence[Defect],
) -> Region:
    """The region that a mask shows, of one of the `defects`.

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
    region = Region(**dataclasses.asdict(by_value[low]), pixels=pixels)
    threshold, relative = region.saturation_threshold, region.relative_saturation
    saturation(threshold, relative, region.area, str(path))  # raises with its name
    return region


def read_size(path: epath.Path) -> tuple[int, int]:  # (H, W)
    """Of an image, from the header of its file; raises UserError where it cannot."""
    try:
        with Image.open(as_readable(path)) as image:
            return image.height, image.width
    except Exception:
        # Says in one sentence what is wrong with the file.
        height, width = read_image(path, 1).shape[:2]
        return height, width
