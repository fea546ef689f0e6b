"""TFDS builders `mvtec_loco_ad`, `mvtec_ad`: importing this module registers them.

tfds.builder("mvtec_loco_ad/juice_bottle").download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=ROOT))
"""

from typing import ClassVar

import tensorflow_datasets as tfds

from gcad_jax.data.mvtec import loco_files, mvtec_ad_files
from gcad_jax.data.mvtec.builder_base import MvtecBuilder
from gcad_jax.data.mvtec.facts import AD, LOCO


class MvtecLocoAd(MvtecBuilder):
    """MVTec LOCO AD: structural and logical anomalies, one config a category."""

    VERSION = tfds.core.Version("1.0.0")
    ARCHIVE = loco_files.ARCHIVE
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name) for name in LOCO]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Unpack the archive from {ARCHIVE.url}: {ARCHIVE.form}."
    )
    DESCRIPTION = "Images of five objects with structural and logical anomalies."
    CITATION = (
        "Bergmann, Batzner, Fauser, Sattlegger, Steger: Beyond Dents and Scratches: "
        "Logical Constraints in Unsupervised Anomaly Detection and Localization. "
        "IJCV, 2022."
    )


class MvtecAd(MvtecBuilder):
    """MVTec AD: fifteen objects and textures, one config a category.

    There are no validation images: who needs some holds out a part of train.
    """

    VERSION = tfds.core.Version("1.0.0")
    ARCHIVE = mvtec_ad_files.ARCHIVE
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name) for name in AD]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Unpack the archive from {ARCHIVE.url}: {ARCHIVE.form}."
    )
    DESCRIPTION = "Images of ten objects and five textures with anomalies."
    CITATION = (
        "Bergmann, Batzner, Fauser, Sattlegger, Steger: The MVTec Anomaly Detection "
        "Dataset: A Comprehensive Real-World Dataset for Unsupervised Anomaly "
        "Detection. IJCV, 2021."
    )
