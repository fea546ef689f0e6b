"""The files of a category of MVTec AD, in the layout of the official archive."""

from etils import epath

from gcad_jax.core.errors import UserError
from gcad_jax.data.annotations.saturation import Defect
from gcad_jax.data.dataset import GOOD
from gcad_jax.data.mvtec.facts import AD, ad_kind
from gcad_jax.data.mvtec.files import (
    Archive,
    FileLayout,
    Record,
    good_records,
    images_by_stem,
    left_out_note,
    require_folders,
    subfolder_names,
)

DATASET = "mvtec_ad"
LAYOUT = (
    "<category>/train/good/*.png, <category>/test/{good,<defect>}/*.png and "
    "<category>/ground_truth/<defect>/*_mask.png"
)
MASK_VALUE = 255


def read_layout(folder: epath.Path) -> FileLayout:
    """Lists the files of the category in `folder`, named as the category.

    A subset is allowed, also without some kinds of test images.

    Raises:
      UserError: a missing folder, too few images, an anomalous image without a mask.
    """
    require_folders(folder, ("train/good",), LAYOUT)
    splits = {"train": good_records(folder, "train", least=2)}
    defects = subfolder_names(folder / "test")
    defects.sort(key=lambda defect: (defect != GOOD, defect))
    if test := [r for defect in defects for r in _test_records(folder, defect)]:
        splits["test"] = tuple(test)
    notes: list[str] = []
    for defect in defects:
        images = images_by_stem(folder / "test" / defect)
        masks = images_by_stem(folder / "ground_truth" / defect)
        unused = set(masks) - {f"{stem}_mask" for stem in images}
        notes += left_out_note(defect, unused)
    return FileLayout(DATASET, folder.name, folder, splits, notes=tuple(notes))


def _test_records(folder: epath.Path, defect: str) -> list[Record]:
    images = images_by_stem(folder / "test" / defect)
    if defect == GOOD:
        return [Record(f"{GOOD}/{stem}", GOOD, image) for stem, image in images.items()]
    ground_truth = folder / "ground_truth" / defect
    masks = images_by_stem(ground_truth)
    # The whole annotated area must be found [P 6].
    entry = Defect(defect, MASK_VALUE, 1.0, relative_saturation=True)
    records = []
    for stem, image in images.items():
        mask = masks.get(f"{stem}_mask")
        if mask is None:
            raise UserError(
                f"{image} has no mask; {ground_truth / stem}_mask.png must show its "
                "defect."
            )
        kind = ad_kind(folder.name, defect, stem)
        records.append(Record(f"{defect}/{stem}", kind, image, (mask,), (entry,)))
    return records


ARCHIVE = Archive(
    DATASET,
    "MVTec AD",
    "https://www.mvtec.com/company/research/datasets/mvtec-ad",
    LAYOUT,
    AD,
    read_layout,
)
