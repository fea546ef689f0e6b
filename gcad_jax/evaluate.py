"""python -m gcad_jax.evaluate --object_name=pushpins --dataset_base_dir=D ...

Scores a folder of anomaly maps, whatever wrote them, with the flags, the folders and
the metrics.json of the official evaluation program of MVTec LOCO AD.
"""

import contextlib
import os
import pathlib
import sys
import threading
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags, logging

from gcad_jax import command_line, plots
from gcad_jax.checks import UserError
from gcad_jax.data import loco_layout, tables
from gcad_jax.data.category import KINDS, TestImage
from gcad_jax.evaluation import console, ground_truth, map_files, metrics, spro
from gcad_jax.evaluation.maps import MapSource
from gcad_jax.evaluation.ranking import Precision
from gcad_jax.evaluation.regions import GroundTruth
from gcad_jax.evaluation.scores import CategoryResult, score
from gcad_jax.files import Path, check_writable, written
from gcad_jax.types import COMBINED

REQUIRED = ("object_name", "dataset_base_dir", "anomaly_maps_dir", "output_dir")
for _name in REQUIRED:
    flags.DEFINE_string(_name, None, "See --help.")
WORKERS = flags.DEFINE_integer("num_parallel_workers", None, "See --help.", 1)
DISTANCE = flags.DEFINE_float("curve_max_distance", None, "See --help.")
NICENESS = flags.DEFINE_integer("niceness", 0, "See --help.")
NAMES = (*REQUIRED, "num_parallel_workers", "curve_max_distance", "niceness")

CURVES = "curves.png"
OUTPUTS = (metrics.METRICS, metrics.DETAILS, CURVES)
EXAMPLE = (
    "python -m gcad_jax.evaluate --object_name=pushpins --dataset_base_dir=DIR "
    "--anomaly_maps_dir=DIR --output_dir=DIR"
)


def evaluate(
    object_name: str,
    dataset_base_dir: Path,
    anomaly_maps_dir: Path,
    output_dir: Path,
    workers: int | None = None,
) -> CategoryResult:
    """Scores the maps of one category and writes OUTPUTS; prints a table.

    workers: threads that read and count; as many as cores, at most 8, if None.

    Returns the maps as branch COMBINED of one seed, 0.

    Raises:
      UserError: ground truth, maps or output folder that do not fit; nothing is
        written then.
    """
    output = pathlib.Path(output_dir).expanduser()
    check_writable(output, OUTPUTS, "--output_dir")
    folder = ground_truth.find_category(dataset_base_dir, object_name)
    test = pathlib.Path(anomaly_maps_dir).expanduser() / object_name / "test"
    maps = map_files.listed(test)
    dataset, anomalous = ground_truth.anomalous_images(folder, workers)
    images = (*ground_truth.good_images(folder, maps), *anomalous)
    paths = map_files.of_images(maps, images, test)

    truth = GroundTruth.build(images)
    with progress(map_files.source(paths, images), len(images)) as source:
        scores = score(truth, source, Precision(workers=workers or 0))
    result = CategoryResult(
        dataset=dataset,
        name=object_name,
        complete=is_complete(dataset, object_name, images),
        notes=(),
        seeds=(0,),
        images=tuple((image.name, image.kind) for image in images),
        branches={COMBINED: (scores,)},
        validation=((),),
    )
    names = write(output, result)
    print(console.counts(result), console.table(result), sep="\n\n", end="\n\n")
    for remark in console.remarks(result):
        print(remark)
    print(f"Written to {output}: {', '.join(names)}.")
    return result


def is_complete(dataset: str, name: str, images: Sequence[TestImage]) -> bool:
    """Whether there are as many test images of each kind as were published."""
    known = tables.LOCO if dataset == loco_layout.DATASET else tables.AD
    if name not in known:
        return False
    kinds = [image.kind for image in images]
    published = known[name].counts
    return all(kinds.count(kind) == published[f"test {kind}"] for kind in KINDS)


@contextlib.contextmanager
def progress(source: MapSource, total: int) -> Iterator[MapSource]:
    """Counts the maps read, each once, in a bar on a terminal; threads may share it."""
    from tqdm import tqdm

    seen: set[int] = set()
    lock = threading.Lock()
    with tqdm(
        total=total,
        desc="Scoring",
        unit="map",
        dynamic_ncols=True,
        leave=False,
        disable=not sys.stderr.isatty(),
    ) as bar:

        def counted(i: int) -> np.ndarray:
            scores = source(i)
            with lock:
                bar.update(i not in seen)
                seen.add(i)
            return scores

        yield counted


def write(folder: pathlib.Path, result: CategoryResult) -> list[str]:
    """Writes all results or, where it raises UserError, none; returns their names.

    Without any curve an older curves.png is removed, so that the files belong together.
    """
    values = result.combined[0].curves
    label = result.name.replace("$", r"\$")
    lines = {console.short(k): {label: np.asarray(v)} for k, v in values.items()}
    names = OUTPUTS if lines else OUTPUTS[:2]
    with contextlib.ExitStack() as files:
        part = {name: files.enter_context(written(folder / name)) for name in names}
        if lines:
            plots.curves(part[CURVES], np.asarray(spro.RATES), lines)
        details = metrics.details(result)
        metrics.write_metrics(part[metrics.DETAILS], details, sort_keys=False)
        metrics.write_metrics(part[metrics.METRICS], metrics.metrics(result.combined))
    if not lines:
        (folder / CURVES).unlink(missing_ok=True)
    return list(names)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake is one sentence and exit code 2."""
    if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in argv):
        print(HELP, end="")
        sys.exit(0)
    try:
        command_line.check_names(command_line.given_values(argv), NAMES)
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"{rest[1]!r} is not a flag; flags begin with --.")
        for name in REQUIRED:
            if not flags.FLAGS[name].value:
                raise UserError(f"--{name} is missing; the command is {EXAMPLE}.")
    except UserError as error:
        command_line.fail(error, 2)
    except (flags.Error, ValueError) as error:
        command_line.fail(UserError(f"{str(error).rstrip('.')}."), 2)
    return rest


def main(_: list[str]) -> None:
    """Evaluates; a user's mistake is one sentence and exit code 2."""
    if DISTANCE.value is not None:
        print("--curve_max_distance has no effect: thresholds are not sampled.")
    try:
        if NICENESS.value:
            os.nice(NICENESS.value)
        given = flags.FLAGS
        evaluate(
            given.object_name,
            given.dataset_base_dir,
            given.anomaly_maps_dir,
            given.output_dir,
            WORKERS.value,
        )
    except UserError as error:
        command_line.fail(error, 2)
    except OSError as error:
        if error.filename is None:
            raise
        command_line.fail(UserError(f"{error.filename}: {error.strerror}."), 2)


def run() -> None:
    """Entry point: quiet libraries, flags checked, then `main`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # What goes wrong in a library is raised and said in one sentence.
    logging.set_verbosity(logging.FATAL)
    app.run(main, flags_parser=parse)


HELP = """\
Score anomaly maps, of any framework, by AU-sPRO and AU-ROC.

  python -m gcad_jax.evaluate --object_name=NAME --dataset_base_dir=DIR \\
      --anomaly_maps_dir=DIR --output_dir=DIR

  --object_name        the category, a folder of --dataset_base_dir
  --dataset_base_dir   the data set. MVTec LOCO AD's layout:
                         NAME/defects_config.json
                         NAME/ground_truth/KIND/IMAGE/*.png   one region a file
                       or MVTec AD's:
                         NAME/ground_truth/DEFECT/IMAGE_mask.png
                       Test images are not needed; where NAME/test/good is
                       there, it says which good images must have a map
  --anomaly_maps_dir   NAME/test/{good,KIND or DEFECT}/IMAGE.tiff (or .tif):
                       real numbers, larger is more anomalous, not resized
  --output_dir         where metrics.json (the official schema), details.json
                       (by defect type and image, curves) and curves.png go

  --num_parallel_workers=N   threads; else one a core, up to 8
  --niceness=N               gives way to other processes
  --curve_max_distance=X     accepted for scripts of the official program; has
                             no effect, since thresholds are not sampled

Exit codes: 0 done; 2 a mistake in flags, ground truth or maps, said in one
sentence, and nothing written; 1 anything else (a bug: please report it).
"""


if __name__ == "__main__":
    run()
    sys.exit(0)
