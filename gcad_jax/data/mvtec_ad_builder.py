"""TFDS builder `mvtec_ad`: importing this module registers it.

tfds.builder("mvtec_ad/hazelnut").download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=ROOT))
"""

from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from gcad_jax.data.builder import MvtecBuilder
from gcad_jax.data.layout import Layout
from gcad_jax.data.mvtec_ad_layout import LAYOUT, read_layout
from gcad_jax.data.tables import AD

URL = "https://www.mvtec.com/company/research/datasets/mvtec-ad"


class MvtecAd(MvtecBuilder):
    """MVTec AD: fifteen objects and textures, one config a category.

    There are no validation images: who needs some holds out a part of train.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name) for name in AD]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Unpack the archive from {URL}: {LAYOUT}."
    HOMEPAGE = URL
    DESCRIPTION = "Images of ten objects and five textures with anomalies."
    CITATION = (
        "Bergmann, Batzner, Fauser, Sattlegger, Steger: The MVTec Anomaly Detection "
        "Dataset: A Comprehensive Real-World Dataset for Unsupervised Anomaly "
        "Detection. IJCV, 2021."
    )

    def layout(self, folder: epath.Path) -> Layout:
        """The files of the category in `folder`; raises UserError."""
        return read_layout(folder)
