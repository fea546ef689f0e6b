"""Packed examples of a data set in MVTec's layout -> arrays, regions and notes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gcad_jax.core.threads import thread_pool
from gcad_jax.core.types import ImagesU8
from gcad_jax.data.dataset import KINDS, Region, TestImage
from gcad_jax.data.images import load_images, read_mask
from gcad_jax.data.mvtec.facts import DatasetFacts
from gcad_jax.data.mvtec.files import FileLayout, Record

# Encoded images of full size are held a chunk at a time: a category has over 1 GB.
CHUNK = 64


def load_split(
    source: Sequence[Any], records: Sequence[Record], size: int, channels: int
) -> tuple[ImagesU8, tuple[TestImage, ...]]:
    """Decodes all examples of `source`, packed from `records`, and zooms them.

    (N, size, size, channels) uint8, and name, original size and regions of each.

    Raises:
      UserError: an image that cannot be decoded.
    """
    arrays = [np.zeros((0, size, size, channels), np.uint8)]
    test_images: list[TestImage] = []
    for start in range(0, len(records), CHUNK):
        part = records[start : start + CHUNK]
        examples = source.__getitems__(range(start, start + len(part)))  # type: ignore[attr-defined]
        images, sizes = load_images(
            [example["image"] for example in examples],
            size,
            channels,
            [str(record.image) for record in part],
        )
        arrays.append(images)
        with thread_pool() as pool:
            test_images += pool.map(_make_test_image, examples, part, sizes)
    return np.concatenate(arrays), tuple(test_images)


def compare_with_published(
    layout: FileLayout, images: Sequence[TestImage], published: DatasetFacts
) -> tuple[bool, tuple[str, ...]]:
    """Whether counts and image sizes equal the published ones, and notes on it.

    images: of all splits.
    """
    here = layout.counts
    differing = [
        f"{name} {here.get(name, 0)} of {count} images"
        for name, count in published.counts.items()
        if here.get(name, 0) != count
    ]
    sizes = {(image.height, image.width) for image in images}
    if sizes != {(published.height, published.width)}:
        other = sorted(sizes - {(published.height, published.width)})
        differing.append(
            f"images of {other[0][1]} x {other[0][0]} instead of "
            f"{published.width} x {published.height} pixels"
        )
    if not differing:
        return True, layout.notes
    note = f"{', '.join(differing)}: numbers do not compare with published ones"
    return False, (note, *layout.notes)


def _make_test_image(
    example: dict[str, Any], record: Record, size: tuple[int, int]
) -> TestImage:
    masks = example["masks"]
    regions = []
    for path, mask, name, value, threshold, relative in zip(
        record.masks,
        masks["mask"],
        masks["defect_name"],
        masks["pixel_value"],
        masks["saturation_threshold"],
        masks["relative_saturation"],
        strict=True,
    ):
        pixels = np.flatnonzero(read_mask(mask, size, str(path))).astype(np.int32)
        entry = (name.decode(), int(value), float(threshold), bool(relative))
        regions.append(Region(*entry, pixels))
    name, kind = example["name"].decode(), KINDS[example["kind"]]
    return TestImage(name, kind, *size, tuple(regions))
