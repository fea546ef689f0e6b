"""TFDS builders `mvtec_loco_ad`, `mvtec_ad`: importing this module registers them.

tfds.builder("mvtec_loco_ad/juice_bottle").download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=ROOT))
"""

from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from gcad_jax.data.mvtec import loco_files, mvtec_ad_files
from gcad_jax.data.mvtec.builder_base import MvtecBuilder
from gcad_jax.data.mvtec.facts import AD, LOCO
from gcad_jax.data.mvtec.files import FileLayout

AD_URL = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
LOCO_URL = "https://www.mvtec.com/company/research/datasets/mvtec-loco"


class MvtecLocoAd(MvtecBuilder):
    """MVTec LOCO AD: structural and logical anomalies, one config a category."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name) for name in LOCO]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Unpack the archive from {LOCO_URL}: {loco_files.LAYOUT}."
    )
    HOMEPAGE = LOCO_URL
    DESCRIPTION = "Images of five objects with structural and logical anomalies."
    CITATION = (
        "Bergmann, Batzner, Fauser, Sattlegger, Steger: Beyond Dents and Scratches: "
        "Logical Constraints in Unsupervised Anomaly Detection and Localization. "
        "IJCV, 2022."
    )

    def layout(self, folder: epath.Path) -> FileLayout:
        """The files of the category in `folder`; raises UserError."""
        return loco_files.read_layout(folder)


class MvtecAd(MvtecBuilder):
    """MVTec AD: fifteen objects and textures, one config a category.

    There are no validation images: who needs some holds out a part of train.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name) for name in AD]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Unpack the archive from {AD_URL}: {mvtec_ad_files.LAYOUT}."
    )
    HOMEPAGE = AD_URL
    DESCRIPTION = "Images of ten objects and five textures with anomalies."
    CITATION = (
        "Bergmann, Batzner, Fauser, Sattlegger, Steger: The MVTec Anomaly Detection "
        "Dataset: A Comprehensive Real-World Dataset for Unsupervised Anomaly "
        "Detection. IJCV, 2021."
    )

    def layout(self, folder: epath.Path) -> FileLayout:
        """The files of the category in `folder`; raises UserError."""
        return mvtec_ad_files.read_layout(folder)
