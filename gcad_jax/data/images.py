"""Image files of any common kind -> uint8 arrays, or one clear sentence.

The rules, in the order in which they are applied to a file:
  EXIF orientation is applied, so that an array shows what a viewer shows.
  Of several frames or pages the first is read. Color profiles are ignored.
  16-bit gray is scaled by value (65535 -> 255, round(value / 257)); of 16-bit color
    Pillow keeps the high byte, which differs by at most one gray level.
  Palettes are looked up. Transparency is composited on white, so that the invisible
    color of a transparent pixel never trains a network.
  Gray -> RGB replicates; color -> gray is ITU-R 601 luma; CMYK -> RGB is Pillow's.
  Floating-point and 32-bit integer images have no known range and are refused.
"""

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from etils import epath
from PIL import Image, ImageOps

from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.threads import FULL_SIZE, thread_pool
from gcad_jax.core.paths import as_readable, is_local, list_folder
from gcad_jax.core.types import ImagesU8
from gcad_jax.data.image_size import ImageSize, ShortSide, as_pair, network_size
from gcad_jax.data.resize import resize_image

zoom = resize_image  # its name in version 0.1.0, when it stood here
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
Source: TypeAlias = str | os.PathLike[str] | bytes  # a path, or the encoded file

# EXIF's tag of the orientation, its values that exchange height and width, and where
# Pillow keeps what may hold it.
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
_ORIENTATION_IN = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}

# Of an image while it is decoded and zoomed: Pillow's four, NumPy's three, a copy.
_BYTES_A_PIXEL = 10
_TYPICAL = (4000, 6000)  # of a large photo

# What Pillow raises for damaged files, by format.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def list_images(folder: str | os.PathLike[str]) -> list[epath.Path]:
    """Image files directly in `folder` by suffix, sorted by name; hidden ones are not.

    Links to files count. Raises UserError where there is no such folder.
    """
    place = epath.Path(folder)
    if not place.is_dir():
        raise UserError(f"{folder} is not a folder; give the folder of the images.")
    return [
        path
        for path in list_folder(place)[1]
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]


def read_image(
    source: Source, channels: int, name: str = ""
) -> np.ndarray:  # (H, W, channels) uint8
    """One image with 3 (RGB) or 1 (gray) channels, by the rules above.

    name: how errors call it; the path where it is left out.

    Raises:
      UserError: a file that is missing, damaged, or of a kind that is refused.
    """
    if channels not in (1, 3):
        raise UserError(f"channels is {channels}; allowed are 3 (RGB) and 1 (gray).")
    image, name = _decode(source, name)
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise UserError(
            f"{name} stores {kind}, whose range is not known; save it as an 8- or "
            "16-bit image."
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    image = image.convert("RGB" if channels == 3 else "L")
    return np.asarray(image).reshape(image.height, image.width, channels)


def read_mask(
    source: Source, size: tuple[int, int], name: str = "", image_name: str = ""
) -> np.ndarray:  # (H, W) uint8
    """One mask with its values unchanged; 0 is background (1-bit masks: 0 and 255).

    size: (H, W) that the mask must have, of the image `image_name`.

    Raises:
      UserError: unreadable, more than 8 bits, colored, or of another size.
    """
    image, name = _decode(source, name)
    if image.mode not in ("1", "L", "P", "LA", "RGB", "RGBA", "PA"):
        raise UserError(
            f"{name} is a mask of Pillow mode {image.mode!r}; masks have one channel "
            "of 8 bits, save it as an 8-bit gray PNG."
        )
    if (image.height, image.width) != tuple(size):
        raise UserError(
            f"{name} is a mask of {image.width} x {image.height} pixels, but its image "
            f"{image_name + ' ' if image_name else ''}has {size[1]} x {size[0]}; both "
            "must have the same size."
        )
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"))
    color = np.asarray(image.convert("RGBA"))
    equal = (color[..., :2] == color[..., 1:3]).all()
    if not equal or (color[..., 3] != 255).any():
        raise UserError(
            f"{name} is a mask with colors or transparency; masks have one channel, "
            "save it as an 8-bit gray PNG."
        )
    return color[..., 0].copy()


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB as 3 channels, or as 1 by the luma of the rules above."""
    if channels == 3:
        return image
    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


def load_images(
    sources: Sequence[Source],
    size: int | tuple[int, int],
    channels: int,
    names: Sequence[str] | None = None,
) -> tuple[ImagesU8, list[tuple[int, int]]]:
    """All images zoomed, (N, h, w, channels) uint8, and their (H, W) on disk.

    size: (h, w), or the side of a square.

    Files are decoded by several threads; what they hold at full size is bounded
    (`hold_decoded`). Raises UserError for the first file, in order, that cannot be
    read.
    """
    images = np.empty((len(sources), *as_pair(size), channels), np.uint8)
    names = names or [""] * len(sources)

    def load(index: int) -> tuple[int, int]:
        with hold_decoded(sources[index]):
            image = read_image(sources[index], channels, names[index])
            images[index] = resize_image(image, size)
            return image.shape[0], image.shape[1]

    with thread_pool() as pool:
        sizes = list(pool.map(load, range(len(sources))))
    return images, sizes


@contextlib.contextmanager
def hold_decoded(source: Source) -> Iterator[None]:
    """Waits until there is memory for an image to be decoded and zoomed in the block.

    By its header; one that cannot be read is left to who decodes it.
    """
    height, width = _TYPICAL  # of an object store the header is the whole file
    if isinstance(source, bytes) or is_local(source):
        try:
            height, width = read_image_size(source)
        except UserError:
            height = width = 0
    with FULL_SIZE.hold(_BYTES_A_PIXEL * height * width):
        yield


def resolve_size(wanted: ImageSize, training: Sequence[Source]) -> tuple[int, int]:
    """`network_size` of the training images, whose headers alone are read.

    Raises UserError for an image that cannot be read, or as `network_size` does.
    """
    if not isinstance(wanted, ShortSide):
        return network_size(wanted, ())
    with thread_pool() as pool:
        return network_size(wanted, list(pool.map(read_image_size, training)))


def read_image_size(source: Source) -> tuple[int, int]:  # (H, W)
    """Of what `read_image` returns, by the header; raises UserError as it does."""
    try:
        with Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else as_readable(source)
        ) as image:
            # Of a PNG without any, Pillow would decode all to look for it at the end.
            tagged = image.format != "PNG" or _ORIENTATION_IN & image.info.keys()
            turned = bool(tagged) and image.getexif().get(_ORIENTATION, 1) in _TURNED
            size = image.height, image.width
            if not turned:
                return size
            # Some versions of Pillow have turned the size of a TIFF already.
            if image.format != "TIFF":
                return size[::-1]
    except Exception:
        pass  # what is wrong is said by who reads all of it
    height, width = read_image(source, 1).shape[:2]
    return height, width


def _decode(source: Source, name: str) -> tuple[Image.Image, str]:
    """The image, and how errors call it."""
    name = name or ("the image" if isinstance(source, bytes) else os.fspath(source))
    try:
        with Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else as_readable(source)
        ) as f:
            f.load()
            ImageOps.exif_transpose(f, in_place=True)  # else all pixels are copied
            return f, name
    except FileNotFoundError:
        raise UserError(f"{name} does not exist; check the path.") from None
    except PermissionError:
        raise UserError(f"{name} may not be read; check its permissions.") from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()).rstrip(".")
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "its format is not known or the file is damaged"
        raise UserError(
            f"{name} is not a readable image: {reason}; replace or remove it."
        ) from error
