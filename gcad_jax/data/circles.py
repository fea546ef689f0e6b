"""The toy set of the paper's Appendix A, "Black Circle": generated, not downloaded.

Stated there: 256 x 256 RGB, one black disc of radius 16 on a background whose pixels
and channels are drawn from [247, 255], Gaussian smoothing with sigma 1.5 of every
image as the last step, 1000 training and 100 validation images. A structural anomaly
is a random region in the disc filled with a random color; a logical one is a second
disc that does not overlap.

Not stated, chosen here, and fields of `Circles` where it is a number:
  The discs lie fully inside the image; their centers are whole pixels.
  The region is the part of the disc that a random disc covers, whose center is a pixel
    of the disc; a color with no bright channel would hide it, so one is at least
    `colour_min`.
  The centers of two discs are at least `min_distance` apart: no blur touches another.
  The number of test images. The masks: the filled region with its full area as
    saturation; both discs as one region saturated at half, the paper's rule for
    additional objects in MVTec LOCO AD, since either disc may be the additional one.
"""

import dataclasses

import numpy as np

from gcad_jax.core import fields
from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import ImagesU8
from gcad_jax.data.dataset import (
    KINDS,
    LOGICAL,
    STRUCTURAL,
    Category,
    Region,
    TestImage,
)
from gcad_jax.data.image_size import ImageSize, network_size
from gcad_jax.data.images import to_channels
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.data.resize import resize_image

NAME = "circles"
BACKGROUND = (247, 255)  # inclusive
TRAIN, VALIDATION = "train", "validation"
SPLITS = (TRAIN, VALIDATION, *KINDS)  # each draws from streams of its own

_COUNT = fields.Allowed(at_least=1, at_most=10**6, reason="all are held in memory")


@dataclasses.dataclass
class Circles:
    """The toy set; sizes in pixels of the generated image."""

    num_train: int = fields.field(1000, _COUNT)
    """Good ones, to train on (images) [P App. A]."""
    num_validation: int = fields.field(100, _COUNT)
    """Good ones, to set the scale of scores (images) [P App. A]."""
    num_test: int = fields.field(100, _COUNT)
    """Those to test on, of each kind (images) [ours]."""
    seed: int = fields.field(0, fields.NOT_NEGATIVE)
    """Seed of all draws [ours]."""
    side: int = fields.field(256, fields.PIXELS)
    """Of the generated images; they are zoomed to the method's size afterwards (pixels)
    [P App. A]."""
    radius: int = fields.field(16, fields.PIXELS)
    """Of a black disc (pixels) [P App. A]."""
    blur_sigma: float = fields.field(1.5, fields.Allowed(at_least=0, at_most=100))
    """Of the Gaussian that smooths every image (pixels) [P App. A]."""
    region_radius_min: int = fields.field(5, fields.PIXELS)
    """Least radius of the disc that cuts a colored region (pixels) [ours]."""
    region_radius_max: int = fields.field(12, fields.PIXELS)
    """Largest radius of it (pixels) [ours]."""
    colour_min: int = fields.field(128, fields.Allowed(at_least=0, at_most=255))
    """The least value of the brightest channel of its color (gray levels) [ours]."""
    min_distance: int = fields.field(36, fields.PIXELS)
    """Between the centers of the two discs of a logical anomaly (pixels) [ours]."""
    logical_saturation: float = fields.field(0.5, fields.FRACTION)
    """Share of the two discs' area that must be found (fraction of the area) [ours,
    after P 3.4]."""
    categories: tuple[str, ...] = fields.field((NAME,))
    """There is only this one [ours]."""

    def names(self) -> tuple[str, ...]:
        """('circles',); raises UserError for any other category."""
        for name in self.categories:
            one_of("data.categories", name, (NAME,))
        return (NAME,)

    def load(self, category: str, image_size: ImageSize, channels: int) -> Category:
        """Generates all splits; the same fields give the same images."""
        one_of("category", category, (NAME,))
        self._check()
        counts = (self.num_train, self.num_validation, *(self.num_test,) * len(KINDS))
        size = network_size(image_size, [(self.side, self.side)])
        images, entries = {}, []
        for split, num in zip(SPLITS, counts, strict=True):
            images[split], masks = self._generate_split(split, num, size, channels)
            if split in KINDS:
                entries += [self._entry(split, i, mask) for i, mask in enumerate(masks)]
        return Category(
            dataset=NAME,
            name=NAME,
            train=images[TRAIN],
            validation=images[VALIDATION],
            test=np.concatenate([images[kind] for kind in KINDS]),
            test_images=tuple(entries),
            augmentation=Augmentation(),
            complete=False,
            notes=(
                f"the toy set is generated (seed {self.seed}); its counts and masks "
                "are ours, so its numbers compare with no published table",
            ),
        )

    def _generate_split(
        self, split: str, num: int, size: tuple[int, int], channels: int
    ) -> tuple[ImagesU8, list[np.ndarray]]:
        images = np.empty((num, *size, channels), np.uint8)
        masks = []
        for index in range(num):
            # (split, index) alone, so that no image depends on the number of others.
            key = (SPLITS.index(split), index)
            stream = np.random.SeedSequence(self.seed, spawn_key=key)
            image, mask = self.generate_image(np.random.default_rng(stream), split)
            images[index] = resize_image(to_channels(image, channels), size)
            masks.append(mask)
        return images, masks

    def generate_image(
        self, stream: np.random.Generator, kind: str
    ) -> tuple[np.ndarray, np.ndarray]:  # (side, side, 3) uint8, (side, side) bool
        """One image and what is wrong with it, as it was before the smoothing."""
        low, high = BACKGROUND
        shape = (self.side, self.side, 3)
        image = stream.integers(low, high, shape, np.uint8, endpoint=True)
        center = self._center(stream)
        disc = self._disc(center, self.radius)
        image[disc] = 0
        anomalous = np.zeros((self.side, self.side), bool)
        if kind == STRUCTURAL:
            middle = stream.choice(np.argwhere(disc))
            limits = self.region_radius_min, self.region_radius_max
            radius = int(stream.integers(*limits, endpoint=True))
            anomalous = disc & self._disc(middle, radius)
            color = np.zeros(3, np.uint8)
            while color.max() < self.colour_min:
                color = stream.integers(0, 255, 3, np.uint8, endpoint=True)
            image[anomalous] = color
        elif kind == LOGICAL:
            other = center
            while np.hypot(*(other - center)) < self.min_distance:
                other = self._center(stream)
            second = self._disc(other, self.radius)
            image[second] = 0
            anomalous = disc | second
        return smooth(image, self.blur_sigma), anomalous

    def _center(self, stream: np.random.Generator) -> np.ndarray:
        return stream.integers(self.radius, self.side - self.radius, 2)

    def _disc(self, center: np.ndarray, radius: int) -> np.ndarray:  # (side, side) bool
        y, x = np.ogrid[: self.side, : self.side]
        return (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2

    def _entry(self, kind: str, index: int, mask: np.ndarray) -> TestImage:
        defects = {
            STRUCTURAL: [("color", 254, 1.0, True)],
            LOGICAL: [("additional_circle", 255, self.logical_saturation, True)],
        }
        pixels = np.flatnonzero(mask).astype(np.int32)
        regions = tuple(Region(*defect, pixels) for defect in defects.get(kind, ()))
        return TestImage(f"{kind}/{index:03d}", kind, self.side, self.side, regions)

    def _check(self) -> None:
        fields.validate_fields(self, "data.")
        if self.region_radius_min > self.region_radius_max:
            raise UserError(
                f"data.region_radius_min is {self.region_radius_min}; it must be "
                f"between 1 and data.region_radius_max ({self.region_radius_max})."
            )
        if self.min_distance <= 2 * self.radius:
            raise UserError(
                f"data.min_distance is {self.min_distance}; two discs of radius "
                f"{self.radius} overlap, it must be above {2 * self.radius}."
            )
        # From the middle of the image a second disc must still fit, into a corner.
        reach = (self.side - 2 * self.radius - 1) // 2 * 2**0.5
        if reach < self.min_distance:
            raise UserError(
                f"data.side is {self.side}; two discs of radius {self.radius} cannot "
                f"always be placed {self.min_distance} pixels apart in it, make it "
                "larger, for example 256."
            )


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:  # (H, W, C) uint8, same
    """Gaussian filter of each channel, cut at 4 sigma, borders replicated, rounded.

    Sums of shifted rows, then of shifted columns, in one fixed order: the bytes do not
    depend on a linear algebra library.
    """
    if sigma <= 0:
        return image
    half = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(half + 1) / sigma) ** 2)
    taps = (taps / (taps[0] + 2 * taps[1:].sum())).astype(np.float32)
    result = image.astype(np.float32)
    for _ in range(2):
        size = result.shape[0]
        padded = np.pad(result, ((half, half), (0, 0), (0, 0)), mode="edge")
        total = taps[0] * result
        for shift in range(1, half + 1):
            pair = (
                padded[half - shift : half - shift + size]
                + padded[half + shift :][:size]
            )
            pair *= taps[shift]
            total += pair
        result = np.ascontiguousarray(total.swapaxes(0, 1))
    return np.rint(result).astype(np.uint8)
