"""TFDS builders `mvtec_loco_ad`, `mvtec_ad`: importing this module registers them.

tfds.builder("mvtec_loco_ad/juice_bottle").download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=ROOT))

The import costs about a second, that of tensorflow_datasets; so it is done only where
data are packaged or read. TensorFlow is not needed: files are array_record, and images
go in as the bytes of their files.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from gcad_jax.core.errors import UserError, one_line
from gcad_jax.core.paths import open_file
from gcad_jax.data.annotations.masks import read_annotated_region, read_size
from gcad_jax.data.dataset import KINDS
from gcad_jax.data.mvtec import loco_files, mvtec_ad_files
from gcad_jax.data.mvtec.facts import AD, LOCO
from gcad_jax.data.mvtec.files import Archive, Record


class LocalInfo(tfds.core.DatasetInfo):
    """Information that is never looked up on the network."""

    def initialize_from_bucket(self) -> None:
        """Nothing: these data sets cannot be hosted."""


class Encoded(tfds.decode.SkipDecoding):
    """Reads images as the bytes of their files, also those in a sequence."""

    def decode_batch_example_np(self, serialized_image: np.ndarray) -> np.ndarray:
        """The bytes as they are."""
        return serialized_image


DECODERS = {"image": Encoded(), "masks": {"mask": Encoded()}}


class MvtecBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder over a manual folder `<manual_dir>/<category>` in MVTec's layout."""

    # Nothing is downloaded. (TFDS looks beside the code for checksums, and needs the
    # package importlib_resources for that, which it does not install.)
    url_infos: ClassVar[dict[str, Any]] = {}

    ARCHIVE: ClassVar[Archive]
    DESCRIPTION: ClassVar[str]
    CITATION: ClassVar[str]

    def __init__(self, *, file_format: Any = "array_record", **arguments: Any):
        super().__init__(file_format=file_format, **arguments)

    def _info(self) -> tfds.core.DatasetInfo:
        return LocalInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=_features(),
            homepage=self.ARCHIVE.url,
            citation=self.CITATION,
            disable_shuffling=True,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Any]:
        root = epath.Path(dl_manager.manual_dir)
        layout = self.ARCHIVE.read_layout(root / self.builder_config.name)
        return {
            split: self._generate_examples(records)
            for split, records in layout.splits.items()
        }

    def _generate_examples(
        self, records: tuple[Record, ...]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, record in enumerate(records):
            yield number, _make_example(record)


class MvtecLocoAdBuilder(MvtecBuilder):
    """MVTec LOCO AD: structural and logical anomalies, one config a category."""

    name = "mvtec_loco_ad"  # else TFDS makes it of the name of the class
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


class MvtecAdBuilder(MvtecBuilder):
    """MVTec AD: fifteen objects and textures, one config a category.

    There are no validation images: who needs some holds out a part of train.
    """

    name = "mvtec_ad"
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


def _features() -> tfds.features.FeaturesDict:
    # A threshold is stored as bytes, because TFDS stores numbers as float32, and
    # int(0.7 * 10) is then 6.
    exact = tfds.features.Tensor(shape=(), dtype=np.float64, encoding="bytes")
    mask = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="png"),
            "name": tfds.features.Text(),
            "kind": tfds.features.ClassLabel(names=KINDS),
            "masks": tfds.features.Sequence(
                {
                    "mask": mask,
                    "defect_name": tfds.features.Text(),
                    "pixel_value": np.uint8,
                    "saturation_threshold": exact,
                    "relative_saturation": np.bool_,
                }
            ),
        }
    )


def _make_example(record: Record) -> dict[str, Any]:
    size = read_size(record.image) if record.masks else (0, 0)
    masks = []
    for path in record.masks:
        region = read_annotated_region(path, size, str(record.image), record.defects)
        masks.append(
            {
                "mask": _read_bytes(path),
                "defect_name": region.defect_name,
                "pixel_value": region.pixel_value,
                "saturation_threshold": np.float64(region.saturation_threshold),
                "relative_saturation": region.relative_saturation,
            }
        )
    return {
        "image": _read_bytes(record.image),
        "name": record.name,
        "kind": record.kind,
        "masks": masks,
    }


def _read_bytes(path: epath.Path) -> bytes:
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({one_line(error)}); check its permissions."
        ) from error
