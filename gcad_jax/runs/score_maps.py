"""Folders of anomaly maps, whatever wrote them -> files of results."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import atomic_file, check_writable
from gcad_jax.core.console import verbosity
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path, as_path
from gcad_jax.core.types import COMBINED
from gcad_jax.data.dataset import KINDS, TestImage
from gcad_jax.data.mvtec import facts, loco_files
from gcad_jax.evaluation import ground_truth_files, map_files, result_files, spro
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.map_source import MapSource
from gcad_jax.evaluation.ranks.rank import Precision
from gcad_jax.evaluation.results import CategoryResult
from gcad_jax.evaluation.scores import score
from gcad_jax.reporting import evaluation_summary, tables
from gcad_jax.reporting.plots import curves, style

CURVES, CURVES_PDF = "curves.png", "curves.pdf"
OUTPUTS = (result_files.METRICS, result_files.DETAILS, CURVES, CURVES_PDF)


def evaluate(
    object_name: str,
    dataset_base_dir: Path,
    anomaly_maps_dir: Path,
    output_dir: Path,
    workers: int | None = None,
) -> CategoryResult:
    """`evaluate_each` for one folder of maps."""
    folders = {as_path(output_dir): as_path(anomaly_maps_dir)}
    (result,) = evaluate_each(object_name, dataset_base_dir, folders, workers)
    return result


def evaluate_each(
    object_name: str,
    dataset_base_dir: Path,
    folders: Mapping[epath.Path, epath.Path],
    workers: int | None = None,
) -> list[CategoryResult]:
    """Scores one category's maps in each folder and writes OUTPUTS; prints tables.

    The ground truth is read once.

    folders: output folder -> folder of maps.
    workers: threads that read and count; as many as cores, at most 8, if None.

    Returns for each folder its maps as branch COMBINED of one seed, 0.

    Raises:
      UserError: ground truth, maps or output folder that do not fit; nothing is
        written then.
    """
    tests = {
        output.expanduser(): maps.expanduser() / object_name / "test"
        for output, maps in folders.items()
    }
    for output in tests:
        check_writable(output, OUTPUTS, "output_dir")
    folder = ground_truth_files.find_category(dataset_base_dir, object_name)
    listed = {test: map_files.list_maps(test) for test in tests.values()}
    dataset, anomalous = ground_truth_files.anomalous_images(folder, workers)
    maps = next(iter(listed.values()))
    images = (*ground_truth_files.good_images(folder, maps), *anomalous)
    paths = {
        test: map_files.maps_of_images(maps, images, test)
        for test, maps in listed.items()
    }
    truth = GroundTruth.build(images)
    results = []
    for test in tests.values():
        with count_maps(
            map_files.map_file_source(paths[test], images), len(images)
        ) as source:
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
        results.append(result)
    for output, result in zip(tests, results, strict=True):
        print_results(output, result, write_results(output, result))
    return results


def output_folders(
    anomaly_maps_dir: str, output_dir: str
) -> dict[epath.Path, epath.Path]:
    """Output folder -> folder of maps, of which there may be several: A,B,...

    The results of A go to `output_dir`/A. A folder may have a comma in its name.

    Raises:
      UserError: two folders of one name, or none between two commas.
    """
    output, maps = as_path(output_dir), anomaly_maps_dir.split(",")
    if len(maps) == 1 or os.path.isdir(os.path.expanduser(anomaly_maps_dir)):
        return {output: as_path(anomaly_maps_dir)}
    folders: dict[epath.Path, epath.Path] = {}
    for folder in map(as_path, maps):
        results = output / folder.name
        if folder.name in ("", "..") or results in folders:
            raise UserError(
                f"anomaly_maps_dir={anomaly_maps_dir} has {str(folder)!r} among its "
                "folders; each needs a name of its own, which its results get in "
                "output_dir.",
                "anomaly_maps_dir",
            )
        folders[results] = folder
    return folders


def print_results(
    output: epath.Path, result: CategoryResult, names: Sequence[str]
) -> None:
    """Prints the results, and where the files `names` are."""
    print(
        evaluation_summary.count_sentence(result),
        evaluation_summary.scores_table(result),
        sep="\n\n",
        end="\n\n",
    )
    for remark in evaluation_summary.remarks(result):
        print(remark)
    print(f"Written to {output}: {', '.join(names)}.")


def is_complete(dataset: str, name: str, images: Sequence[TestImage]) -> bool:
    """Whether there are as many test images of each kind as were published."""
    known = facts.LOCO if dataset == loco_files.DATASET else facts.AD
    if name not in known:
        return False
    kinds = [image.kind for image in images]
    published = known[name].counts
    return all(kinds.count(kind) == published[f"test {kind}"] for kind in KINDS)


@contextlib.contextmanager
def count_maps(source: MapSource, total: int) -> Iterator[MapSource]:
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
        disable=verbosity.quiet or not sys.stderr.isatty(),
    ) as bar:

        def counted(i: int) -> np.ndarray:
            scores = source(i)
            with lock:
                bar.update(i not in seen)
                seen.add(i)
            return scores

        yield counted


def write_results(folder: epath.Path, result: CategoryResult) -> list[str]:
    """Writes all results or, where it raises UserError, none; returns their names.

    Without any curve older figures of them are removed: all files belong together.
    """
    values = result.combined[0].curves
    lines = {tables.short(k): {result.name: np.asarray(v)} for k, v in values.items()}
    names = OUTPUTS if lines else OUTPUTS[:2]
    with contextlib.ExitStack() as files:
        part = {name: files.enter_context(atomic_file(folder / name)) for name in names}
        if lines:
            drawn = curves.render_spro_curves(np.asarray(spro.RATES), lines)
            style.save_figure(drawn, {"png": part[CURVES], "pdf": part[CURVES_PDF]})
        details = result_files.detailed_results(result)
        result_files.write_metrics(part[result_files.DETAILS], details, sort_keys=False)
        result_files.write_metrics(
            part[result_files.METRICS], result_files.official_metrics(result.combined)
        )
    if not lines:
        for name in (CURVES, CURVES_PDF):
            (folder / name).unlink(missing_ok=True)
    return list(names)
