"""What the configs of both MVTec data sets share."""

import dataclasses
from typing import ClassVar

from gcad_jax.core import fields
from gcad_jax.data.dataset import Category
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.data.mvtec.cache import load_packed
from gcad_jax.data.mvtec.examples import compare_with_published, load_split
from gcad_jax.data.mvtec.files import Archive, FileLayout, check_names, find_category


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

    def load(self, category: str, image_size: int, channels: int) -> Category:
        """Reads one category; gray images become RGB where `channels` is 3.

        Raises:
          UserError: data that are missing, unreadable or contradictory, or a cache
            that cannot be written.
        """
        layout, facts = self._read_layout(category), self.ARCHIVE.facts[category]
        packed = load_packed(layout, self.cache_dir)
        (train, _), (validation, _), (test, test_images) = splits = [
            load_split(
                packed.get(split, ()),
                layout.splits.get(split, ()),
                image_size,
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
