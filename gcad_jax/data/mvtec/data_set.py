"""What the configs of both MVTec data sets share: packed examples to a category."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from gcad_jax.core import fields
from gcad_jax.core.machine.threads import thread_pool
from gcad_jax.core.types import ImagesU8
from gcad_jax.data.dataset import KINDS, Category, Region, TestImage
from gcad_jax.data.image_size import ImageSize
from gcad_jax.data.images import load_images, read_mask, resolve_size
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.data.mvtec.cache import load_packed
from gcad_jax.data.mvtec.facts import DatasetFacts
from gcad_jax.data.mvtec.files import (
    Archive,
    FileLayout,
    Record,
    check_names,
    find_category,
)

# Encoded images of full size are held a chunk at a time: a category has over 1 GB.
CHUNK = 64


@dataclasses.dataclass
class MvtecDataSet:
    """The unpacked archive, read through its TFDS builder."""

    ARCHIVE: ClassVar[Archive]

    root: str = fields.field("")
    """The folder that holds the folders of the categories [ours]."""
    categories: tuple[str, ...] = fields.field(())
    """Which of them to run; each set has its own default, all it has [P 3, 6]."""
    cache_dir: str = fields.field("", run_only=True)
    """Where the packed data set goes; '' for $XDG_CACHE_HOME or ~/.cache [ours]."""
    rotation_degrees: float = fields.field(3.0, fields.DEGREES)
    """Largest rotation of the augmentation (degrees) [P 5.1]."""
    jitter: float = fields.field(0.1, fields.FRACTION)
    """j of the factors U(1 - j, 1 + j) of brightness, contrast and saturation [ours: P
    5.1 gives no range]."""

    def names(self) -> tuple[str, ...]:
        """The categories to run; raises UserError where one is not complete on disk."""
        check_names(self.categories, tuple(self.ARCHIVE.facts))
        for category in self.categories:
            self._read_layout(category)
        return tuple(self.categories)

    def load(self, category: str, image_size: ImageSize, channels: int) -> Category:
        """Reads one category; gray images become RGB where `channels` is 3.

        Raises:
          UserError: data that are missing, unreadable or contradictory, or a cache
            that cannot be written.
        """
        layout, facts = self._read_layout(category), self.ARCHIVE.facts[category]
        packed = load_packed(layout, self.cache_dir)
        training = layout.splits["train"]
        size = resolve_size(image_size, [record.image for record in training])
        (train, _), (validation, _), (test, test_images) = splits = [
            load_split(
                packed.get(split, ()),
                layout.splits.get(split, ()),
                size,
                channels,
            )
            for split in ("train", "validation", "test")
        ]
        complete, notes = compare_with_published(
            layout, [image for _, images in splits for image in images], facts
        )
        return Category(
            dataset=layout.dataset,
            name=category,
            train=train,
            validation=validation,
            test=test,
            test_images=test_images,
            augmentation=Augmentation(
                facts.vertical_flip,
                facts.horizontal_flip,
                self.rotation_degrees,
                self.jitter,
            ),
            complete=complete,
            notes=notes,
        )

    def _read_layout(self, category: str) -> FileLayout:
        check_names((category,), tuple(self.ARCHIVE.facts))
        return self.ARCHIVE.read_layout(
            find_category(self.root, category, self.ARCHIVE)
        )


def load_split(
    source: Sequence[Any],
    records: Sequence[Record],
    size: tuple[int, int],
    channels: int,
) -> tuple[ImagesU8, tuple[TestImage, ...]]:
    """Decodes all examples of `source`, packed from `records`, and zooms them.

    (N, *size, channels) uint8, and name, original size and regions of each.

    Raises:
      UserError: an image that cannot be decoded.
    """
    arrays = [np.zeros((0, *size, channels), np.uint8)]
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
