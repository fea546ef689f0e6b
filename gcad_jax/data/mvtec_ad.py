"""MVTec AD as a config holds it, with the logical anomalies of the paper [P 6]."""

import dataclasses

from gcad_jax.core import fields
from gcad_jax.data.dataset import Category
from gcad_jax.data.image_size import ImageSize
from gcad_jax.data.input.sampling import split_validation
from gcad_jax.data.mvtec import mvtec_ad_files
from gcad_jax.data.mvtec.data_set import MvtecDataSet
from gcad_jax.data.mvtec.facts import AD


@dataclasses.dataclass
class MvtecAd(MvtecDataSet):
    """Fifteen categories; 37 of the 1258 anomalous images are logical [P Table 4]."""

    ARCHIVE = mvtec_ad_files.ARCHIVE

    categories: tuple[str, ...] = fields.field(tuple(AD))
    """Which of them to run [P 6]."""
    validation_fraction: float = fields.field(0.1, fields.FRACTION)
    """What is held out of the training images as validation, because the data set has
    none (fraction of the images) [ours: the paper does not say]."""
    split_seed: int = fields.field(0, fields.NOT_NEGATIVE)
    """Seed of the choice of those images [ours]."""

    def load(self, category: str, image_size: ImageSize, channels: int) -> Category:
        """As of any set of MVTec; a part of the training images is held out."""
        # Before anything is packed, which takes minutes: it may be refused.
        count = len(self._read_layout(category).splits["train"])
        train, held_out = split_validation(
            count, self.validation_fraction, self.split_seed
        )
        whole = super().load(category, image_size, channels)
        note = (
            f"validation: {len(held_out)} of the {count} training images held out "
            f"(fraction {self.validation_fraction}, seed {self.split_seed})"
        )
        return dataclasses.replace(
            whole,
            train=whole.train[train],
            validation=whole.train[held_out],
            notes=(note, *whole.notes),
        )
