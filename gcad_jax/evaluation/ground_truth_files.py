"""Ground truth of one category on disk -> test images, without reading any image.

In MVTec LOCO AD's layout `defects_config.json` names the defect types, and every file
ground_truth/KIND/IMAGE/*.png is one region. In MVTec AD's layout an image has one mask,
ground_truth/DEFECT/IMAGE_mask.png, which saturates at its area [P 6]. Sizes are those
of the masks, so that the test images themselves need not be there.
"""

import os
from collections.abc import Mapping

from etils import epath

from gcad_jax.core.checks import nearest, one_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.threads import thread_pool
from gcad_jax.core.paths import as_path, resolve
from gcad_jax.data.annotations.masks import read_annotated_region, read_size
from gcad_jax.data.annotations.saturation import Defect, read_defects
from gcad_jax.data.dataset import GOOD, KINDS, TestImage
from gcad_jax.data.mvtec import loco_files, mvtec_ad_files
from gcad_jax.data.mvtec.facts import ad_kind
from gcad_jax.data.mvtec.files import Record, images_by_stem
from gcad_jax.evaluation.map_files import (
    check_symlink,
    list_checked_entries,
    map_size,
    subfolders,
)

CONFIG = "defects_config.json"


def find_category(root: str | os.PathLike[str], name: str) -> epath.Path:
    """The folder `root`/`name`; any name will do.

    Raises:
      UserError: no such root, or no such folder in it; it names the nearest.
    """
    base = as_path(root).expanduser()
    check_symlink(base)
    if not base.is_dir():
        raise UserError(
            f"{base} is not a folder; it must hold the folder {name!r} of the data set."
        )
    check_symlink(base / name)
    if (base / name).is_dir():
        return base / name
    if (base / "ground_truth").is_dir():
        raise UserError(
            f"{base} is the folder of one category; give the folder above it, "
            f"{resolve(base).parent}."
        )
    there = subfolders(base)
    raise UserError(
        f"{base} has no folder {name!r}; its folders are "
        f"{', '.join(there) or 'none'}.{nearest(name, there)}"
    )


def anomalous_images(
    folder: epath.Path, workers: int | None = None
) -> tuple[str, tuple[TestImage, ...]]:
    """Name of the data set whose layout `folder` has, and its anomalous images.

    folder: of the category. workers: threads; as many as cores, at most 8, if None.

    Raises:
      UserError: no ground truth, an image without masks, a mask or an entry of
        `defects_config.json` that does not fit, or a link to nothing.
    """
    truth, config = folder / "ground_truth", folder / CONFIG
    check_symlink(truth)
    check_symlink(config)
    if not truth.is_dir():
        raise UserError(
            f"{truth} is not a folder; it must hold the masks of the test images."
        )
    names = subfolders(truth)
    loco = config.exists() or any(kind in names for kind in KINDS[1:])
    annotated = _loco_images(truth, config) if loco else _mvtec_ad_images(truth)
    if not annotated:
        raise UserError(
            f"{truth} holds no mask; without any anomalous image there is nothing to "
            "evaluate."
        )
    with thread_pool(workers or 0) as threads:
        images = tuple(threads.map(_read_regions, annotated))
    return loco_files.DATASET if loco else mvtec_ad_files.DATASET, images


def good_images(
    folder: epath.Path, maps: Mapping[str, epath.Path]
) -> tuple[TestImage, ...]:
    """The good test images: those in test/good or, without that folder, the good maps.

    folder: of the category. maps: by image name, as `list_maps` returns them.

    Raises:
      UserError: an image or map whose size cannot be read, or a link to nothing.
    """
    test = folder / "test" / GOOD
    check_symlink(test)
    if test.is_dir():
        list_checked_entries(test)  # links to nothing
        sizes = {
            f"{GOOD}/{s}": read_size(image) for s, image in images_by_stem(test).items()
        }
    else:
        good = {name: p for name, p in maps.items() if name.startswith(f"{GOOD}/")}
        sizes = {name: map_size(path) for name, path in good.items()}
    return tuple(TestImage(name, GOOD, *size) for name, size in sizes.items())


def _loco_images(truth: epath.Path, config: epath.Path) -> list[Record]:
    for kind in subfolders(truth):
        one_of(f"A folder of {truth}", kind, KINDS[1:])
    defects = read_defects(config)
    annotated = []
    for kind in (k for k in KINDS[1:] if (truth / k).is_dir()):
        if stray := list(images_by_stem(truth / kind).values()):
            raise UserError(
                f"{stray[0]} belongs to no image; the masks of an image lie in a "
                f"folder of its name, such as {truth / kind / '000' / '000.png'}."
            )
        for name in subfolders(truth / kind):
            files = tuple(_masks_by_stem(truth / kind / name).values())
            annotated.append(Record(f"{kind}/{name}", kind, files[0], files, defects))
    return annotated


def _mvtec_ad_images(truth: epath.Path) -> list[Record]:
    annotated = []
    for defect in subfolders(truth):
        if defect == GOOD and not images_by_stem(truth / defect):
            continue
        defects = (Defect(defect, mvtec_ad_files.MASK_VALUE, 1.0, True),)
        for stem, mask in _masks_by_stem(truth / defect).items():
            name = stem.removesuffix("_mask")
            if name == stem or defect == GOOD:
                raise UserError(
                    f"{mask} is not a mask in MVTec AD's layout, ground_truth/"
                    "<defect>/<image>_mask.png; MVTec LOCO AD's has the folders "
                    f"{' and '.join(KINDS[1:])}."
                )
            kind = ad_kind(truth.parent.name, defect, name)
            annotated.append(Record(f"{defect}/{name}", kind, mask, (mask,), defects))
    return annotated


def _masks_by_stem(folder: epath.Path) -> dict[str, epath.Path]:
    list_checked_entries(folder)  # links to nothing
    if not (files := images_by_stem(folder)):
        raise UserError(
            f"{folder} holds no mask; it must hold one PNG for each defect, or be "
            "removed."
        )
    return files


def _read_regions(record: Record) -> TestImage:
    # Of a record here a mask stands for the image, which need not be there.
    size, beside = read_size(record.image), f"(by {record.image.name} beside it)"
    regions = tuple(
        read_annotated_region(path, size, beside, record.defects)
        for path in record.masks
    )
    return TestImage(record.name, record.kind, *size, regions)
