"""Ground truth of one category, laid out once for every model, seed and branch.

An image with several masks has several regions, and each region is one summand of
sPRO; masks of one image may overlap. A pixel counts as negative where no mask of its
image covers it, whatever the defect type of the mask.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gcad_jax.core.errors import UserError
from gcad_jax.data.annotations.saturation import saturation
from gcad_jax.data.dataset import GOOD, Region, TestImage


@dataclasses.dataclass(frozen=True)
class Subset:
    """The regions that one sPRO value averages; every good image belongs to it.

    name: a kind ("structural_anomalies") or a defect type.
    images: ascending indices of its anomalous images, whose negatives count.
    regions: ascending indices of its regions.
    """

    name: str
    images: tuple[int, ...]
    regions: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """N test images and their m regions, flat.

    images: as handed in.
    regions: all regions, by image.
    region_images: (m,) int32, the image of each region.
    areas: (m,) int64 pixels, |A_i|.
    saturations: (m,) int64 pixels, s_i with 1 <= s_i.
    unions: for each image the int32 indices that any of its regions covers.
    """

    images: tuple[TestImage, ...]
    regions: tuple[Region, ...]
    region_images: np.ndarray
    areas: np.ndarray
    saturations: np.ndarray
    unions: tuple[np.ndarray, ...]

    @classmethod
    def build(cls, images: Sequence[TestImage]) -> "GroundTruth":
        """Raises UserError for a saturation below one pixel or an empty region."""
        pairs = [(i, r) for i, image in enumerate(images) for r in image.regions]
        saturations = []
        for i, region in pairs:
            mask = f"A mask of test image {images[i].name}"
            mask += f" (defect {region.defect_name!r})"
            _check_pixels(images[i], region, mask)
            threshold, relative = (
                region.saturation_threshold,
                region.relative_saturation,
            )
            saturations.append(saturation(threshold, relative, region.area, mask))
        # Masks may overlap: a pixel of several is left out of the negatives once.
        nothing = np.empty(0, np.int32)
        unions = [
            np.unique(np.concatenate([nothing, *(r.pixels for r in image.regions)]))
            for image in images
        ]
        return cls(
            images=tuple(images),
            regions=tuple(region for _, region in pairs),
            region_images=np.array([i for i, _ in pairs], np.int32),
            areas=np.array([region.area for _, region in pairs], np.int64),
            saturations=np.array(saturations, int),
            unions=tuple(union.astype(np.int32) for union in unions),
        )

    def images_of_kind(self, kind: str) -> tuple[int, ...]:
        """Indices of the images of a kind, annotated or not."""
        return tuple(i for i, image in enumerate(self.images) if image.kind == kind)

    def regions_of(self, image: int) -> list[int]:
        """Indices of the regions of an image."""
        return np.flatnonzero(self.region_images == image).tolist()

    def subset_of_kind(self, kind: str) -> Subset | None:
        """The annotated images of an anomalous kind; None where there are none."""
        return self._subset(kind, [self.images[i].kind for i in self.region_images])

    def subset_of_defect(self, defect_name: str) -> Subset | None:
        """One defect type: the images with at least one region of that type."""
        return self._subset(defect_name, [r.defect_name for r in self.regions])

    def defect_names(self) -> tuple[str, ...]:
        """Defect types that occur, in the order of their first image."""
        return tuple(dict.fromkeys(region.defect_name for region in self.regions))

    def count_negatives(self, subset: Subset) -> int:
        """Pixels outside the unions, over all good images and those of the subset."""
        images = self.images_of_kind(GOOD) + subset.images
        pixels = sum(self.images[i].height * self.images[i].width for i in images)
        return pixels - sum(self.unions[i].size for i in images)

    def _subset(self, name: str, names: Sequence[str]) -> Subset | None:
        """names: one for each region, such as its kind."""
        regions = [r for r, of_region in enumerate(names) if of_region == name]
        if not regions:
            return None
        images = sorted({int(self.region_images[r]) for r in regions})
        return Subset(name, tuple(images), tuple(regions))


def _check_pixels(image: TestImage, region: Region, mask: str) -> None:
    if region.area == 0:
        raise UserError(f"{mask} has no positive pixel; a mask marks at least one.")
    if image.kind == GOOD:
        raise UserError(
            f"Test image {image.name} is of kind {GOOD!r} but has a mask (defect "
            f"{region.defect_name!r}); good images have none."
        )
    if region.pixels.min() < 0 or region.pixels.max() >= image.height * image.width:
        raise ValueError(
            f"region {region.defect_name!r} of {image.name} leaves its "
            f"{image.height} x {image.width} image"
        )
