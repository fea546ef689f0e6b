"""Packed examples of a data set in MVTec's layout -> arrays, regions and notes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from gcad_jax.core.threads import thread_pool
from gcad_jax.core.types import ImagesU8
from gcad_jax.data.annotations.masks import decode_region
from gcad_jax.data.annotations.saturation import Defect
from gcad_jax.data.dataset import KINDS, Region, TestImage
from gcad_jax.data.images import load_images
from gcad_jax.data.mvtec.facts import DatasetFacts
from gcad_jax.data.mvtec.files import FileLayout, Record

# Encoded images of full size are held a chunk at a time: a category has over 1 GB.
CHUNK = 64


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of one split in memory.

    images: (N, S, S, C) uint8.
    test_images: their names, original sizes and regions; one entry an image.
    """

    images: ImagesU8
    test_images: tuple[TestImage, ...]


def load_split(
    source: Sequence[Any], records: Sequence[Record], size: int, channels: int
) -> Split:
    """Decodes all examples of `source`, packed from `records`, and zooms them.

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
    return Split(np.concatenate(arrays), tuple(test_images))


def compare_with_published(
    layout: FileLayout, splits: Sequence[Split], published: DatasetFacts
) -> tuple[bool, tuple[str, ...]]:
    """Whether counts and image sizes equal the published ones, and notes on it."""
    here = layout.counts
    differing = [
        f"{name} {here.get(name, 0)} of {count} images"
        for name, count in published.counts.items()
        if here.get(name, 0) != count
    ]
    sizes = {(i.height, i.width) for split in splits for i in split.test_images}
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
    return TestImage(
        name=example["name"].decode(),
        kind=KINDS[example["kind"]],
        height=size[0],
        width=size[1],
        regions=_decode_regions(example["masks"], record, size),
    )


def _decode_regions(
    masks: dict[str, Any], record: Record, size: tuple[int, int]
) -> tuple[Region, ...]:
    defects = (
        Defect(name.decode(), int(value), float(threshold), bool(relative))
        for name, value, threshold, relative in zip(
            masks["defect_name"],
            masks["pixel_value"],
            masks["saturation_threshold"],
            masks["relative_saturation"],
            strict=True,
        )
    )
    return tuple(
        decode_region(mask, defect, size, str(path))
        for mask, defect, path in zip(masks["mask"], defects, record.masks, strict=True)
    )
