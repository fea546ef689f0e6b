"""What a data set hands to training and evaluation, whatever its layout on disk."""

import dataclasses
from typing import Protocol

import numpy as np

from gcad_jax.core.types import ImagesU8
from gcad_jax.data.annotations.saturation import Defect
from gcad_jax.data.image_size import ImageSize
from gcad_jax.data.input.augment import Augmentation

GOOD = "good"
STRUCTURAL = "structural_anomalies"
LOGICAL = "logical_anomalies"
KINDS = (GOOD, STRUCTURAL, LOGICAL)


@dataclasses.dataclass(frozen=True)
class Region(Defect):
    """One annotated region: one mask channel, one summand of sPRO [P 3.3].

    pixels: (A,) int32 flat indices into the H x W image, ascending.
    """

    pixels: np.ndarray

    @property
    def area(self) -> int:
        """Number of annotated pixels, |A|."""
        return int(self.pixels.size)


@dataclasses.dataclass(frozen=True)
class TestImage:
    """One test image: what evaluation must know beside its pixels.

    name: folder and file stem, unique in the test set ("good/000", "crack/001").
    kind: one of KINDS.
    height, width: of the original image, in pixels; maps are scored at this size.
    regions: its annotated regions; empty for good images.
    annotated: False for an anomalous image without any mask: it counts for the
        image score and is left out of localization.
    """

    __test__ = False  # not a pytest class

    name: str
    kind: str
    height: int
    width: int
    regions: tuple[Region, ...] = ()
    annotated: bool = True


@dataclasses.dataclass(frozen=True)
class Category:
    """One category in memory; all images zoomed to one size (h, w).

    dataset, name: e.g. "mvtec_loco_ad", "juice_bottle".
    train, validation, test: (N, h, w, C) uint8; train and validation are good images.
    test_images: one entry for each row of `test`.
    augmentation: what training may do to the images of this category.
    complete: whether the counts equal the published ones, so that numbers compare.
    notes: sentences for the log and the report ("validation: 10 % of train held out").
    """

    dataset: str
    name: str
    train: ImagesU8
    validation: ImagesU8
    test: ImagesU8
    test_images: tuple[TestImage, ...]
    augmentation: Augmentation
    complete: bool
    notes: tuple[str, ...] = ()

    @property
    def image_size(self) -> tuple[int, int]:
        """(h, w) of the images, the input of the network."""
        height, width = self.train.shape[1:3]
        return height, width


class DataSet(Protocol):
    """A data set as a config holds it: plain fields, and how to load a category."""

    categories: tuple[str, ...]

    def names(self) -> tuple[str, ...]:
        """The categories to run; raises UserError for one that is not there."""
        ...

    def load(self, category: str, image_size: ImageSize, channels: int) -> Category:
        """Reads one category (channels: 3 RGB, 1 gray); raises UserError.

        image_size: what the method wants; `image_size.network_size` of the training
            images is the one size of all. One that knows only a whole number, the side
            of a square, serves the methods that take squares.
        """
        ...
