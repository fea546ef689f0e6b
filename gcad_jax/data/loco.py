"""MVTec LOCO AD as a config holds it [P 3]."""

import dataclasses

from gcad_jax.core import fields
from gcad_jax.data.mvtec import loco_files
from gcad_jax.data.mvtec.data_set import MvtecDataSet
from gcad_jax.data.mvtec.facts import LOCO


@dataclasses.dataclass
class MvtecLocoAd(MvtecDataSet):
    """Five categories with structural and logical anomalies."""

    ARCHIVE = loco_files.ARCHIVE

    categories: tuple[str, ...] = fields.field(tuple(LOCO))
    """Which of them to run [P 3]."""
