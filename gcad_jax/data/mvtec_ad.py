"""MVTec AD as a config holds it, with the logical anomalies of the paper [P 6]."""

import dataclasses

from gcad_jax.core import fields
from gcad_jax.data.dataset import Category
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.data.input.sampling import split_validation
from gcad_jax.data.mvtec.cache import load_packed
from gcad_jax.data.mvtec.examples import compare_with_published, load_split
from gcad_jax.data.mvtec.facts import AD, FLIPS
from gcad_jax.data.mvtec.files import FileLayout, check_names, find_category
from gcad_jax.data.mvtec.mvtec_ad_files import DATASET, LAYOUT, read_layout

HINT = (
    "get MVTec AD from https://www.mvtec.com/company/research/datasets/mvtec-ad (it "
    "asks for your consent to its license), unpack it so that ROOT holds "
    f"{LAYOUT}, and pass data.root=ROOT."
)


@dataclasses.dataclass
class MvtecAd:
    """Fifteen categories; 37 of the 1258 anomalous images are logical [P Table 4]."""

    root: str = fields.field("")
    """The folder that holds the folders of the categories [ours]."""
    categories: tuple[str, ...] = fields.field(tuple(AD))
    """Which of them to run [P 6]."""
    cache_dir: str = fields.field("", run_only=True)
    """Where the packed data set goes; '' for $XDG_CACHE_HOME or ~/.cache [ours]."""
    validation_fraction: float = fields.field(0.1, fields.FRACTION)
    """What is held out of the training images as validation, because the data set has
    none (fraction of the images) [ours: the paper does not say]."""
    split_seed: int = fields.field(0, fields.NOT_NEGATIVE)
    """Seed of the choice of those images [ours]."""
    rotation_degrees: float = fields.field(3.0, fields.DEGREES)
    """Largest rotation of the augmentation (degrees) [P 5.1]."""
    jitter: float = fields.field(0.1, fields.FRACTION)
    """j of the factors U(1 - j, 1 + j) of brightness, contrast and saturation [ours: P
    5.1 gives no range]."""

    def names(self) -> tuple[str, ...]:
        """The categories to run; raises UserError where one is not complete on disk."""
        check_names(self.categories, tuple(AD))
        for category in self.categories:
            self._layout(category)
        return tuple(self.categories)

    def load(self, category: str, image_size: int, channels: int) -> Category:
        """Reads one category through its TFDS builder; gray images become RGB.

        Raises:
          UserError: data that are missing, unreadable or contradictory, or a cache
            that cannot be written.
        """
        layout = self._layout(category)
        good = layout.splits["train"]
        train, held_out = split_validation(
            len(good), self.validation_fraction, self.split_seed
        )
        from gcad_jax.data.mvtec.builders import MvtecAd as Builder

        packed = load_packed(Builder, layout, self.cache_dir)
        trained = load_split(packed["train"], good, image_size, channels)
        test = load_split(
            packed.get("test", ()), layout.splits.get("test", ()), image_size, channels
        )
        complete, notes = compare_with_published(layout, (trained, test), AD[category])
        vertical, horizontal = FLIPS[category]
        held_out_note = (
            f"validation: {len(held_out)} of the {len(good)} training images held out "
            f"(fraction {self.validation_fraction}, seed {self.split_seed})"
        )
        return Category(
            dataset=DATASET,
            name=category,
            train=trained.images[train],
            validation=trained.images[held_out],
            test=test.images,
            test_images=test.test_images,
            augmentation=Augmentation(
                vertical, horizontal, self.rotation_degrees, self.jitter
            ),
            complete=complete,
            notes=(held_out_note, *notes),
        )

    def _layout(self, category: str) -> FileLayout:
        check_names((category,), tuple(AD))
        return read_layout(find_category(self.root, category, tuple(AD), HINT))
