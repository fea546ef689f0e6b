"""TFDS builder `mvtec_loco_ad`: importing this module registers it.

tfds.builder("mvtec_loco_ad/juice_bottle").download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=ROOT))
"""

from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from gcad_jax.data.builder import MvtecBuilder
from gcad_jax.data.layout import Layout
from gcad_jax.data.loco_layout import LAYOUT, read_layout
from gcad_jax.data.tables import LOCO

URL = "https://www.mvtec.com/company/research/datasets/mvtec-loco"


class MvtecLocoAd(MvtecBuilder):
    """MVTec LOCO AD: structural and logical anomalies, one config a category."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name) for name in LOCO]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Unpack the archive from {URL}: {LAYOUT}."
    HOMEPAGE = URL
    DESCRIPTION = "Images of five objects with structural and logical anomalies."
    CITATION = (
        "Bergmann, Batzner, Fauser, Sattlegger, Steger: Beyond Dents and Scratches: "
        "Logical Constraints in Unsupervised Anomaly Detection and Localization. "
        "IJCV, 2022."
    )

    def layout(self, folder: epath.Path) -> Layout:
        """The files of the category in `folder`; raises UserError."""
        return read_layout(folder)
