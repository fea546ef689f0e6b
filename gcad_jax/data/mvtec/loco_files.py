"""The files of a category of MVTec LOCO AD, in the layout of the official archive."""

from etils import epath

from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError
from gcad_jax.data.annotations.saturation import Defect, read_defects
from gcad_jax.data.dataset import GOOD, KINDS
from gcad_jax.data.mvtec.facts import LOCO
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

DATASET = "mvtec_loco_ad"
LAYOUT = (
    "<category>/{train,validation}/good/*.png, "
    "<category>/test/{good,logical_anomalies,structural_anomalies}/*.png, "
    "<category>/ground_truth/{logical,structural}_anomalies/<image>/*.png and "
    "<category>/defects_config.json"
)


def read_layout(folder: epath.Path) -> FileLayout:
    """Lists the files of the category in `folder`, named as the category.

    A subset is allowed, also without some kinds of test images.

    Raises:
      UserError: a missing folder, too few images, an anomalous image without masks,
        a folder or a `defects_config.json` that does not fit.
    """
    require_folders(folder, ("train/good", "validation/good"), LAYOUT)
    splits = {
        "train": good_records(folder, "train", least=2),
        "validation": good_records(folder, "validation", least=1),
    }
    for kind in subfolder_names(folder / "test"):
        one_of(f"A folder of {folder / 'test'}", kind, KINDS)
    anomalous = any(images_by_stem(folder / "test" / kind) for kind in KINDS[1:])
    config = folder / "defects_config.json" if anomalous else None
    defects = read_defects(config) if config else ()
    if test := [r for kind in KINDS for r in _test_records(folder, kind, defects)]:
        splits["test"] = tuple(test)
    notes: list[str] = []
    for kind in subfolder_names(truth := folder / "ground_truth"):
        images = images_by_stem(folder / "test" / kind)
        notes += left_out_note(kind, set(subfolder_names(truth / kind)) - set(images))
    return FileLayout(DATASET, folder.name, folder, splits, config, tuple(notes))


def _test_records(
    folder: epath.Path, kind: str, defects: tuple[Defect, ...]
) -> list[Record]:
    records = []
    for stem, image in images_by_stem(folder / "test" / kind).items():
        name = f"{kind}/{stem}"
        if kind == GOOD:
            records.append(Record(name, kind, image))
            continue
        masks = folder / "ground_truth" / kind / stem
        files = tuple(images_by_stem(masks).values())
        if not files:
            raise UserError(
                f"{image} has no masks; {masks} must hold one PNG for each defect."
            )
        records.append(Record(name, kind, image, files, defects))
    return records


ARCHIVE = Archive(
    DATASET,
    "MVTec LOCO AD",
    "https://www.mvtec.com/company/research/datasets/mvtec-loco",
    LAYOUT,
    LOCO,
    read_layout,
)
