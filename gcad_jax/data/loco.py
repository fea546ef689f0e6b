"""MVTec LOCO AD as a config holds it [P 3]."""

import dataclasses

from gcad_jax.core import fields
from gcad_jax.data.dataset import Category
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.data.mvtec.cache import load_packed
from gcad_jax.data.mvtec.examples import compare_with_published, load_split
from gcad_jax.data.mvtec.facts import FLIPS, LOCO
from gcad_jax.data.mvtec.files import FileLayout, check_names, find_category
from gcad_jax.data.mvtec.loco_files import DATASET, LAYOUT, read_layout

HINT = (
    "get MVTec LOCO AD from https://www.mvtec.com/company/research/datasets/mvtec-loco "
    "(it asks for your consent to its license), unpack it so that ROOT holds "
    f"{LAYOUT}, and pass data.root=ROOT."
)


@dataclasses.dataclass
class MvtecLocoAd:
    """Five categories with structural and logical anomalies."""

    root: str = fields.field("")
    """The folder that holds the folders of the categories [ours]."""
    categories: tuple[str, ...] = fields.field(tuple(LOCO))
    """Which of them to run [P 3]."""
    cache_dir: str = fields.field("", run_only=True)
    """Where the packed data set goes; '' for $XDG_CACHE_HOME or ~/.cache [ours]."""
    rotation_degrees: float = fields.field(3.0, fields.DEGREES)
    """Largest rotation of the augmentation (degrees) [P 5.1]."""
    jitter: float = fields.field(0.1, fields.FRACTION)
    """j of the factors U(1 - j, 1 + j) of brightness, contrast and saturation [ours: P
    5.1 gives no range]."""

    def names(self) -> tuple[str, ...]:
        """The categories to run; raises UserError where one is not complete on disk."""
        check_names(self.categories, tuple(LOCO))
        for category in self.categories:
            self._layout(category)
        return tuple(self.categories)

    def load(self, category: str, image_size: int, channels: int) -> Category:
        """Reads one category through its TFDS builder.

        Raises:
          UserError: data that are missing, unreadable or contradictory, or a cache
            that cannot be written.
        """
        layout = self._layout(category)
        from gcad_jax.data.mvtec.builders import MvtecLocoAd as Builder

        packed = load_packed(Builder, layout, self.cache_dir)
        train, validation, test = (
            load_split(
                packed.get(split, ()),
                layout.splits.get(split, ()),
                image_size,
                channels,
            )
            for split in ("train", "validation", "test")
        )
        complete, notes = compare_with_published(
            layout, (train, validation, test), LOCO[category]
        )
        vertical, horizontal = FLIPS[category]
        return Category(
            dataset=DATASET,
            name=category,
            train=train.images,
            validation=validation.images,
            test=test.images,
            test_images=test.test_images,
            augmentation=Augmentation(
                vertical, horizontal, self.rotation_degrees, self.jitter
            ),
            complete=complete,
            notes=notes,
        )

    def _layout(self, category: str) -> FileLayout:
        check_names((category,), tuple(LOCO))
        return read_layout(find_category(self.root, category, tuple(LOCO), HINT))
