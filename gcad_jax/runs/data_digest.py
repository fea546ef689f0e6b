"""Digests of the images of a category: what ties a workdir, and a study, to them."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from etils import epath

from gcad_jax.core.paths import fingerprint, make_absolute
from gcad_jax.core.types import ImagesU8
from gcad_jax.data.dataset import Category, TestImage


def digest_category(category: Category) -> dict[str, Any]:
    """Contents of data.json: "images" (a number) and "sha256" of each split.

    The digest of "test" is also of names, sizes and annotated regions.
    """
    splits = {"train": category.train, "validation": category.validation}
    digests = {
        split: {
            "images": len(images),
            "sha256": hashlib.sha256(_pixels(images)).hexdigest(),
        }
        for split, images in splits.items()
    }
    test = digest_ground_truth(category.test_images, _pixels(category.test))
    return digests | {"test": {"images": len(category.test), "sha256": test}}


def _pixels(images: ImagesU8) -> bytes:
    """What is digested of images (N, h, w, C).

    Of other than squares, which version 0.1.0 had not, the size too.
    """
    height, width = images.shape[1:3]
    size = b"" if height == width else f"{height} x {width}".encode()
    return size + images.tobytes()


def digest_ground_truth(images: Sequence[TestImage], pixels: bytes = b"") -> str:
    """Of all that evaluation knows of test images, after `pixels`, those of the images.

    The regions have the size of the files, so without `pixels` images that two methods
    resized differently have one digest.
    """
    digest = hashlib.sha256(pixels)
    for image in images:
        fields = (image.name, image.kind, image.height, image.width, image.annotated)
        digest.update(repr(fields).encode())
        for region in image.regions:
            digest.update(
                f"{region.defect_name} {region.saturation_threshold} "
                f"{region.relative_saturation}".encode()
            )
            digest.update(region.pixels.tobytes())
    return digest.hexdigest()


def digest_files(paths: Iterable[epath.Path]) -> str:
    """Of names, sizes and times: reading the files would take longer."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        if path.exists():
            size, time = fingerprint(path)
            digest.update(f"{make_absolute(path)} {size} {time}\n".encode())
    return digest.hexdigest()
