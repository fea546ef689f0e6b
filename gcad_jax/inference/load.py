"""`gcad_jax.load`: the detector of a finished run, or of a detector file."""

import re

from etils import epath

from gcad_jax.core.checks import nearest, positive
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path, as_path, list_folder
from gcad_jax.inference import detector_file
from gcad_jax.inference.detector import Detector
from gcad_jax.inference.onnx_detector import SUFFIX, OnnxDetector

_FILE_NAME = re.compile(r"seed_(\d+)\.npz")


def load(
    workdir: Path,
    category: str | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
) -> Detector:
    """The detector of a finished run.

    Args:
      workdir: of the run, the folder of one of its categories, or one detector file
        (CATEGORY/detectors/seed_0.npz), which needs nothing beside it; or an ONNX file
        that was exported, which ONNX Runtime then computes.
      category: which; may be left out where there is one.
      seed: of the training; the first one where it is left out.
      batch_size: images that the device computes at once, and that fewer images are
        filled up to: 1 for the shortest wait of a single image. The method's
        `inference_batch_size` where it is left out.

    Raises:
      UserError: no such detector, or a file that is damaged.
    """
    path = find_file(as_path(workdir).expanduser(), category, seed)
    if batch_size is not None:
        positive("batch_size", batch_size)
    if path.suffix == SUFFIX:
        detector: Detector = OnnxDetector(path, batch_size)
        stored = detector.stored
    else:
        stored = detector_file.read_detector(path)
        own = stored.method.inference_batch_size
        detector = Detector(stored, own if batch_size is None else batch_size)
    # A file that is named directly may be that of another category or seed.
    for field, wanted in (("category", category), ("seed", seed)):
        actual = getattr(stored, field)
        if wanted not in (None, actual):
            raise UserError(
                f"{path} is the detector of the {field} {actual!r}, not {wanted!r}."
            )
    return detector


def find_file(
    workdir: epath.Path, category: str | None, seed: int | None
) -> epath.Path:
    """The file of a detector; raises UserError as `load` does."""
    if workdir.is_file():
        return workdir
    if not workdir.is_dir():
        raise UserError(
            f"{workdir} is not there; give the workdir of a finished run, or a "
            "detector file."
        )
    by_category: dict[str, dict[int, epath.Path]] = {}
    for category_folder in (workdir, *list_folder(workdir)[0]):
        folder = category_folder / detector_file.DETECTORS
        for path in list_folder(folder)[1] if folder.is_dir() else []:
            if match := _FILE_NAME.fullmatch(path.name):
                by_category.setdefault(category_folder.name, {})[int(match[1])] = path
    if not by_category:
        raise UserError(
            f"{workdir} holds no detector; give the workdir of a finished run, not of "
            "a study or a merge. One that was made by an older version, or with "
            "write_detectors=False, gets its detectors when its command is repeated "
            "with write_detectors=True.",
            "write_detectors",
        )
    if category is None and len(by_category) > 1:
        raise UserError(
            f"{workdir} has detectors of several categories; name one: "
            f"{', '.join(by_category)}."
        )
    name = next(iter(by_category)) if category is None else category
    if name not in by_category:
        raise UserError(
            f"{workdir} has no detector of the category {name!r}; there are "
            f"{', '.join(by_category)}.{nearest(name, by_category)}"
        )
    files = by_category[name]
    if seed is None:
        return files[min(files)]
    if seed not in files:
        raise UserError(
            f"{workdir} has no detector of {name} with the seed {seed}; there are "
            f"{', '.join(map(str, sorted(files)))}."
        )
    return files[seed]
