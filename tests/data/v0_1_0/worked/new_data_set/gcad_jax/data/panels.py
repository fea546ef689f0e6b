"""Panels of lamps: one .npz file for each category."""

import dataclasses

import numpy as np

from gcad_jax.checks import UserError
from gcad_jax.data.augment import Augmentation
from gcad_jax.data.category import GOOD, LOGICAL, Category, Region, TestImage
from gcad_jax.data.images import to_channels, zoom
from gcad_jax.data.layout import check_names
from gcad_jax.files import as_path, inside, readable
from gcad_jax.types import ImagesU8

ARRAYS = ("train", "validation", "test", "kinds", "masks")


@dataclasses.dataclass
class Panels:
    """Files ROOT/CATEGORY.npz with train, validation, test, kinds and masks.

    root: the folder that holds the files [ours].
    categories: names of files to run; () means all, sorted [ours].
    """

    root: str = ""
    categories: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """The categories to run; raises UserError for one that is not there."""
        folder = as_path(self.root or ".").expanduser()
        files = inside(folder)[1] if folder.is_dir() else []
        there = sorted(f.stem for f in files if f.suffix == ".npz")
        if not there:
            raise UserError(
                f"data.root is {self.root!r}, where there is no .npz file; point "
                "--config.data.root=FOLDER at the folder of panels."
            )
        if self.categories:
            check_names(self.categories, there)
        return self.categories or tuple(there)

    def load(self, category: str, image_size: int, channels: int) -> Category:
        """Reads one category, its images zoomed to squares."""
        path = as_path(self.root).expanduser() / f"{category}.npz"
        try:
            with np.load(readable(path)) as file:
                arrays = {name: file[name] for name in ARRAYS}
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); it must hold {', '.join(ARRAYS)}."
            ) from error

        def zoomed(images: np.ndarray) -> ImagesU8:  # (N, H, W) -> (N, S, S, C)
            rgb = np.stack([images] * 3, axis=-1)
            wanted = [to_channels(image, channels) for image in rgb]
            return np.stack([zoom(image, image_size) for image in wanted])

        tests = zip(arrays["kinds"], arrays["masks"], strict=True)
        return Category(
            dataset="panels",
            name=category,
            train=zoomed(arrays["train"]),
            validation=zoomed(arrays["validation"]),
            test=zoomed(arrays["test"]),
            test_images=tuple(
                described(i, str(kind), mask) for i, (kind, mask) in enumerate(tests)
            ),
            augmentation=Augmentation(rotation_degrees=2.0),
            complete=False,
        )


def described(index: int, kind: str, mask: np.ndarray) -> TestImage:
    """What evaluation must know of a test image. mask: (H, W), non-zero is wrong."""
    name, size = f"{kind}/{index:03d}", mask.shape
    if kind == GOOD:
        return TestImage(name, GOOD, *size)
    pixels = np.flatnonzero(mask).astype(np.int32)
    # One region, which is found when half of its pixels are.
    region = Region(kind, 255, 0.5, True, pixels)
    return TestImage(name, LOGICAL, *size, (region,))
