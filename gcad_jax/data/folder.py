"""The user's own images: a folder of good ones is enough to train.

The layout of the folder and the names of the masks: see `folder_files`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from etils import epath

from gcad_jax.core import fields
from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError
from gcad_jax.data.annotations.folder_files import (
    find_categories,
    find_good,
    find_masks,
    find_tests,
    kind_of,
)
from gcad_jax.data.dataset import GOOD, Category, Region, TestImage
from gcad_jax.data.image_size import ImageSize
from gcad_jax.data.images import load_images, read_mask, resolve_size
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.data.input.sampling import split_validation
from gcad_jax.data.mvtec.files import check_names, subfolder_names


@dataclasses.dataclass
class Folder:
    """Own images below `root`, laid out as `folder_files` says."""

    root: str = fields.field("")
    """The folder of images, or of categories [ours]."""
    categories: tuple[str, ...] = fields.field(())
    """sub-folders of `root` to run; () means all of them, sorted [ours]."""
    validation_fraction: float = fields.field(0.1, fields.FRACTION)
    """What is held out of the training images where there are none to validate on
    (fraction of the images) [ours]."""
    split_seed: int = fields.field(0, fields.NOT_NEGATIVE)
    """Seed of the choice of those images [ours]."""
    vertical_flip: bool = fields.field(False)
    """Mirror top and bottom with probability 1/2 in training; off where nothing is
    said, as a mirrored image may be an anomaly [P 5.1; off is ours]."""
    horizontal_flip: bool = fields.field(False)
    """The same of left and right [P 5.1; off is ours]."""
    rotation_degrees: float = fields.field(3.0, fields.DEGREES)
    """Largest rotation of the augmentation (degrees) [P 5.1]."""
    jitter: float = fields.field(0.1, fields.FRACTION)
    """j of the factors U(1 - j, 1 + j) of brightness, contrast and saturation [ours: P
    5.1 gives no range]."""

    def names(self) -> tuple[str, ...]:
        """The categories to run; raises UserError where there are none or not these."""
        folders = find_categories(self.root)
        if self.categories:
            check_names(self.categories, list(folders))
        return tuple(self.categories) or tuple(folders)

    def load(self, category: str, image_size: ImageSize, channels: int) -> Category:
        """Reads one category; raises UserError for whatever is amiss."""
        folders = find_categories(self.root)
        one_of("category", category, folders)
        folder = folders[category]
        train, validation, notes = self._good_images(folder)
        size = resolve_size(image_size, train)
        tests = find_tests(folder / "test")
        paths = [path for kind in tests.values() for path in kind]
        test, sizes = load_images(paths, size, channels)
        entries = describe_tests(folder / "ground_truth", tests, sizes)
        return Category(
            dataset="folder",
            name=category,
            train=load_images(train, size, channels)[0],
            validation=load_images(validation, size, channels)[0],
            test=test,
            test_images=entries,
            augmentation=Augmentation(
                self.vertical_flip,
                self.horizontal_flip,
                self.rotation_degrees,
                self.jitter,
            ),
            complete=False,
            notes=(*notes, *_test_notes(entries)),
        )

    def _good_images(
        self, folder: epath.Path
    ) -> tuple[list[epath.Path], list[epath.Path], list[str]]:
        """Paths to train on, paths to validate on, and what to say about them."""
        source = folder / "train" if (folder / "train").is_dir() else folder
        train = find_good(source)
        if len(train) < 2:
            raise UserError(
                f"{source} holds a single training image, {train[0].name!r}; at least "
                "2 good images are needed, add more."
            )
        if (folder / "validation").is_dir():
            return train, find_good(folder / "validation"), []
        kept, held_out = split_validation(
            len(train), self.validation_fraction, self.split_seed
        )
        note = (
            f"validation: {len(held_out)} of {len(train)} images held out "
            f"({100 * self.validation_fraction:g} %, split_seed {self.split_seed})"
        )
        return [train[i] for i in kept], [train[i] for i in held_out], [note]


def describe_tests(
    folder: epath.Path,
    tests: dict[str, list[epath.Path]],
    sizes: Sequence[tuple[int, int]],
) -> tuple[TestImage, ...]:
    """One entry for each test image, in order, with the masks from ground_truth/.

    sizes: (H, W) of each. Raises UserError for a mask that fits no test image, is
    empty, unreadable or of another size.
    """
    masks = {kind: find_masks(folder / kind, paths) for kind, paths in tests.items()}
    for stray in subfolder_names(folder):
        if stray not in tests:
            find_masks(folder / stray, [])
    defects = [kind for kind in tests if kind_of(kind) != GOOD]
    entries: list[TestImage] = []
    for kind, paths in tests.items():
        for path in paths:
            size = sizes[len(entries)]
            regions = tuple(
                read_region(mask, size, path, 255 - defects.index(kind))
                for mask in masks[kind].get(path.stem, [])
            )
            annotated = bool(regions) or kind_of(kind) == GOOD
            name = f"{kind}/{path.stem}"
            entries.append(TestImage(name, kind_of(kind), *size, regions, annotated))
    return tuple(entries)


def read_region(
    mask: epath.Path, size: tuple[int, int], image: epath.Path, value: int
) -> Region:
    """One mask as one region named after its kind; raises UserError."""
    kind = image.parent.name
    pixels = np.flatnonzero(read_mask(mask, size, image_name=str(image)))
    if not pixels.size:
        raise UserError(
            f"{mask} is an empty mask: all its pixels are 0; mark the anomaly, or "
            "remove the mask."
        )
    return Region(kind, max(value, 1), 1.0, True, pixels.astype(np.int32))


def _test_notes(entries: Sequence[TestImage]) -> list[str]:
    anomalous = [entry for entry in entries if entry.kind != GOOD]
    if bare := sum(not entry.annotated for entry in anomalous):
        return [
            f"{bare} of {len(anomalous)} anomalous test images have no mask: they "
            "count for the image score and not for localization"
        ]
    return [] if entries else ["no test images: nothing is evaluated"]
