"""Where the user's own images lie, and one sentence for whatever is not in its place.

    ROOT/train/*.png                        good, or in train/good/, or just ROOT/*.png
    ROOT/validation/*.png                   optional; good, or in validation/good/;
                                              without it some of train is held out
    ROOT/test/good/*.png                    optional
    ROOT/test/KIND/STEM.png                 anomalous; logical if KIND says 'logical'
    ROOT/ground_truth/KIND/STEM.png         optional masks, or STEM_mask.png,
    ROOT/ground_truth/KIND/STEM/*.png         or a folder with one mask a region

So a folder of good images is enough. The category is called like the folder ROOT. For
several categories, ROOT/CATEGORY/ is laid out like ROOT above.

Images have any known suffix, masks a lossless one. In a mask every pixel that is not 0
is anomalous; a mask is one region, named after KIND, saturated at its full area.
"""

from collections.abc import Sequence

from etils import epath

from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, list_entries, make_absolute
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.data.images import SUFFIXES, list_images
from gcad_jax.data.mvtec.files import images_by_stem, subfolder_names

LOSSLESS = (".png", ".bmp", ".tif", ".tiff")
_PARTS = ("validation", "test", "ground_truth")  # make no sense without train/


def find_categories(root: str) -> dict[str, epath.Path]:
    """Name and folder of each category below `root`, sorted; raises UserError."""
    folder = make_absolute(as_path(root).expanduser())
    if not root or not folder.is_dir():
        problem = f"{root!r}, which is not a folder" if root else "empty"
        raise UserError(
            f"data.root is {problem}. Point data.root=FOLDER at a folder of good "
            "images.",
            "data.root",
        )
    if _is_category(folder):
        return {folder.name: folder}
    if stray := [part for part in _PARTS if (folder / part).is_dir()]:
        raise UserError(
            f"{folder} has {stray[0]}/ but no train/; put the good training images "
            "into train/."
        )
    folders = {name: folder / name for name in subfolder_names(folder)}
    categories = {name: path for name, path in folders.items() if _is_category(path)}
    if not categories:
        raise no_images(folder)
    return categories


def find_good(folder: epath.Path) -> list[epath.Path]:
    """The images in `folder` or in its sub-folder good/; raises UserError for none."""
    images, inner = list_images(folder), folder / GOOD
    if images and inner.is_dir():
        raise UserError(
            f"{folder} holds images and a folder good/; keep the good images in one "
            "of the two places."
        )
    images = images or (list_images(inner) if inner.is_dir() else [])
    if not images:
        raise no_images(folder)
    return images


def find_tests(folder: epath.Path) -> dict[str, list[epath.Path]]:
    """Images of each folder below test/, good first; {} where there is no test/."""
    if not folder.is_dir():
        return {}
    if images := list_images(folder):
        raise UserError(
            f"{images[0]} is in no folder that says what it shows; put good test "
            "images into test/good/ and others into test/NAME_OF_DEFECT/."
        )
    kinds = subfolder_names(folder)
    kinds.sort(key=lambda kind: (kind_of(kind) != GOOD, kind))
    return {kind: list(images_by_stem(folder / kind).values()) for kind in kinds}


def find_masks(
    folder: epath.Path, images: Sequence[epath.Path]
) -> dict[str, list[epath.Path]]:
    """The masks in ground_truth/KIND/ by the stem of their test image.

    Raises UserError for one that belongs to none of `images`, or would not be read.
    """
    masks: dict[str, list[epath.Path]] = {}
    if not folder.is_dir():
        return masks
    stems = {path.stem for path in images if kind_of(folder.name) != GOOD}
    folders = [folder / name for name in subfolder_names(folder)]
    for path in [*list_images(folder), *folders]:
        files = list_images(path) if path.is_dir() else [path]
        stem = path.name if path.is_dir() else path.stem
        if stem not in stems and not path.is_dir():
            stem = stem.removesuffix("_mask")
        if stem not in stems:
            raise UserError(
                f"{path} is a mask without an anomalous test image of that name in "
                f"{folder.parents[1] / 'test' / folder.name}; rename or remove it."
            )
        if stem in masks:
            raise UserError(
                f"{path} and {masks[stem][0]} are both masks of test image {stem!r}; "
                f"keep one, or put several regions into the folder {folder / stem}."
            )
        if not files:
            raise no_images(path)
        for file in files:
            if file.suffix.lower() not in LOSSLESS:
                raise UserError(
                    f"{file} is a mask in a lossy format; save it as an 8-bit gray PNG."
                )
        masks[stem] = files
    return masks


def kind_of(folder_name: str) -> str:
    """Good, logical or structural, from the name of a folder below test/."""
    if folder_name.lower() == GOOD:
        return GOOD
    return LOGICAL if "logical" in folder_name.lower() else STRUCTURAL


def no_images(folder: epath.Path) -> UserError:
    """The error for a folder without images: what is there, what is known."""
    names = [path.name for path in list_entries(folder)]
    there = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return UserError(
        f"{folder} holds no images ({there or 'it is empty'}); known suffixes are "
        f"{', '.join(SUFFIXES)}. Put images there, or point data.root=FOLDER at "
        "another folder.",
        "data.root",
    )


def _is_category(folder: epath.Path) -> bool:
    return (folder / "train").is_dir() or bool(list_images(folder))
