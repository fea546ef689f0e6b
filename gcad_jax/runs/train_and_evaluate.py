"""The main job: every category trained, evaluated, and all of it reported."""

import dataclasses
import functools
import os
import platform
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import jax
import numpy as np
from etils import epath

from gcad_jax.config import experiment as configs
from gcad_jax.config.experiment import Experiment, RunOptions
from gcad_jax.core import multihost
from gcad_jax.core.console import print_line
from gcad_jax.core.paths import is_local, make_folder
from gcad_jax.core.types import COMBINED
from gcad_jax.core.version import __version__
from gcad_jax.data.dataset import Category
from gcad_jax.evaluation import map_files, result_files
from gcad_jax.evaluation.map_files import MAPS
from gcad_jax.evaluation.scores import CategoryResult, Scores, evaluate
from gcad_jax.inference import detector_file
from gcad_jax.methods.base import DetectorState, Method
from gcad_jax.methods.common.apply import all_maps, anomaly_maps
from gcad_jax.reporting import html, run_figures
from gcad_jax.reporting.report import write_report
from gcad_jax.runs import workdir
from gcad_jax.runs.data_digest import digest_category
from gcad_jax.training.checkpoint import CHECKPOINTS
from gcad_jax.training.logs import ROWS, read_rows
from gcad_jax.training.loop import LoopOptions, TrainResult, train
from gcad_jax.training.parallel.layout import Layout, choose_layout
from gcad_jax.training.step import UNROLL, VMAP, StepOptions

REPORT = "report.md"


def run(
    config: Experiment, path: str, programs: epath.Path | None = None
) -> list[CategoryResult]:
    """Trains, evaluates and reports all categories of a config in folder `path`.

    What is finished there is kept, what was interrupted is continued.
    programs: folder of the compiled programs, where several runs share them.

    Raises:
      UserError: a mistake in config, data or folder.
      Preempted: on SIGTERM, after saving.
    """
    config = configs.resolve(config)
    multihost.check_equal(configs.settings(config), "the settings")
    options = options_of(config)
    names = multihost.run_on_first(config.data.names)
    started = time.monotonic()
    with workdir.opened(path, configs.as_dict(config)) as folder:
        keep_programs(programs or folder)
        results, sentences = [], {}
        complete = multihost.run_on_first(functools.partial(_complete, folder, names))
        for name in names:
            result, described = run_category(config, name, folder / name, options)
            results.append(result)
            sentences.update(dict.fromkeys(described))
        if not complete:
            minutes = (time.monotonic() - started) / 60
            made_on = hardware(options, minutes)
            multihost.run_on_first(
                lambda: report(config, folder, results, [*sentences, made_on])
            )
        multihost.run_on_first(lambda: html.update(folder / REPORT))
        written = f"{folder / REPORT} and {html.name_of(folder / REPORT).name}"
        print_line(f"\nreport      {written}", result=True)
    return results


def _complete(folder: epath.Path, names: Sequence[str]) -> bool:
    """Whether there is nothing left to do."""
    files = [folder / name / result_files.METRICS for name in names]
    return all(file.exists() for file in (*files, folder / REPORT))


def keep_programs(folder: epath.Path) -> None:
    """So that a resumed run need not compile again."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder / ".programs"))
    if not is_local(folder):
        # XLA itself, which would keep tuned kernels of GPUs there, knows disks alone.
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


def loop_options(
    config: RunOptions, batch: int, cache_features: bool = False, trained: bool = True
) -> LoopOptions:
    """Devices and layout of the steps; raises UserError where they do not fit.

    batch: examples of one update. trained: whether there is anything to train.
    """
    available = jax.devices()
    seeds = len(config.seeds)
    if trained:
        kind, count = config.layout, config.num_devices
        layout = choose_layout(kind, batch, seeds, count, available)
    else:  # nothing is shared out
        layout = Layout((jax.local_devices()[0],))
    on_cpu = available[0].platform == "cpu"
    return LoopOptions(
        layout=layout,
        step=StepOptions(
            config.map_seeds or (UNROLL if on_cpu else VMAP),
            config.steps_per_call,
        ),
        checkpoint_minutes=config.checkpoint_minutes,
        log_every=config.log_every,
        cache_features=cache_features,
    )


def options_of(config: Experiment) -> LoopOptions:
    """`loop_options` of a run."""
    method = config.method
    trained = bool(method.phases(1))
    return loop_options(config, method.batch_size, config.cache_features, trained)


def run_category(
    config: Experiment, name: str, folder: epath.Path, options: LoopOptions
) -> tuple[CategoryResult, tuple[str, ...]]:
    """Result of one category, and what the method says of itself."""
    method = config.method
    print_line(f"\n== {name}", result=True)
    category = loaded(config, name)
    rows = functools.partial(read_rows, folder / ROWS)
    earlier = multihost.run_on_first(lambda: _earlier(config, category, folder))
    if earlier:
        print_line("finished    earlier: its results are kept", result=True)
        multihost.run_on_first(lambda: run_figures.draw_missing(folder, earlier, rows))
        return earlier, method.describe()
    for line in method.describe():
        print_line(f"method      {line}")
    trained = train(
        method,
        category,
        config.seeds,
        folder,
        options,
        configs.as_dict(config),
        print_line,
    )
    result = evaluate_category(config, category, trained, folder)
    _say_result(result)
    return result, method.describe()


def loaded(config: Experiment, name: str) -> Category:
    """A category as the method wants it, the same on every process."""
    method = config.method
    load = functools.partial(config.data.load, name, method.image_size, method.channels)
    category = multihost.run_on_all(load)
    if multihost.num_processes() > 1:
        multihost.check_equal(digest_category(category), f"the images of {name}")
    return category


def _earlier(
    config: Experiment, category: Category, folder: epath.Path
) -> CategoryResult | None:
    """The results that are there of these very images; makes the folder."""
    make_folder(folder)
    same_tests = workdir.check_data(folder, category)
    if same_tests and has_results(config, folder, len(category.test) > 0):
        return result_files.read_result(folder)
    return None


def has_results(config: Experiment, folder: epath.Path, tests: bool = True) -> bool:
    """Whether a category has all that it is to have. tests: it has test images."""
    wanted = [result_files.METRICS, result_files.DETAILS]
    if config.write_maps and tests:
        wanted.append(MAPS)
    # A merged workdir has neither detectors nor what they could be made of.
    if config.write_detectors and (folder / CHECKPOINTS).exists():
        wanted += [
            f"{detector_file.DETECTORS}/seed_{seed}.npz" for seed in config.seeds
        ]
    return all((folder / file).exists() for file in wanted)


def evaluate_category(
    config: Experiment, category: Category, trained: TrainResult, folder: epath.Path
) -> CategoryResult:
    """Calibrates on the validation images, scores the test images, writes and draws.

    Each process has its share of the seeds; the first one writes what all found.
    """
    print_line(f"evaluate    {len(category.test)} test images")
    places = trained.places
    if len(places) == len(config.seeds):  # every process has them all
        places = multihost.shard_of(len(places))
    found = multihost.run_on_all(
        lambda: _scored(config, category, trained, places, folder) if places else None
    )
    of_seeds = multihost.all_gather(found.by_seed(places) if found else {})
    by_place = {place: own for part in of_seeds for place, own in part.items()}
    ordered = [by_place[place] for place in range(len(config.seeds))]
    result = CategoryResult(
        dataset=category.dataset,
        name=category.name,
        complete=category.complete,
        notes=category.notes,
        seeds=tuple(config.seeds),
        images=tuple((image.name, image.kind) for image in category.test_images),
        branches={
            name: tuple(scores[name] for scores, _ in ordered) for name in ordered[0][0]
        },
        validation=tuple(validation for _, validation in ordered),
    )
    maps = found.maps if found else {}  # the first process has the first seed
    multihost.run_on_first(lambda: _write(config, folder, category, maps, result))
    return result


_OfSeed: TypeAlias = tuple[dict[str, Scores], tuple[float, ...]]


@dataclasses.dataclass(frozen=True)
class _Found:
    """Of some seeds: maps (seeds, N, s, s) and scores by branch, image scores."""

    maps: Mapping[str, np.ndarray]
    scores: Mapping[str, tuple[Scores, ...]]
    validation: tuple[tuple[float, ...], ...]

    def by_seed(self, places: Sequence[int]) -> dict[int, _OfSeed]:
        """Scores by branch, and image scores, of each seed."""
        return {
            place: (
                {name: scores[i] for name, scores in self.scores.items()},
                self.validation[i],
            )
            for i, place in enumerate(places)
        }


def _scored(
    config: Experiment,
    category: Category,
    trained: TrainResult,
    places: Sequence[int],
    folder: epath.Path,
) -> _Found:
    """Maps and scores of the seeds at `places`; writes the maps where wanted."""
    method = config.method
    # On the device once, not with every batch.
    detectors = jax.device_put(calibrated(method, trained, category, places))
    maps = functools.partial(anomaly_maps, method, jax.jit(all_maps(method)), detectors)
    validation = maps(category.validation)
    if config.write_detectors:
        _write_detectors(config, category, places, detectors, validation, folder)
    branches: Mapping[str, np.ndarray] = {}
    scores: Mapping[str, tuple] = {}
    if len(category.test):
        branches = maps(category.test)
        scores = evaluate(category.test_images, branches, _say_turn)
    if config.write_maps and len(category.test):
        seeds = [config.seeds[place] for place in places]
        _write_maps(folder / MAPS, category, seeds, branches[COMBINED])
    return _Found(
        branches,
        scores,
        tuple(
            detector_file.Scale.of(maps).image_scores for maps in validation[COMBINED]
        ),
    )


def _write_detectors(
    config: Experiment,
    category: Category,
    places: Sequence[int],
    detectors: Sequence[DetectorState],
    validation: Mapping[str, np.ndarray],
    folder: epath.Path,
) -> None:
    """validation: maps of the validation images by branch, (seeds, V, S, S)."""
    for i, (place, detector) in enumerate(zip(places, detectors, strict=True)):
        seed = config.seeds[place]
        scales = {
            name: detector_file.Scale.of(maps[i]) for name, maps in validation.items()
        }
        detector_file.write(
            detector_file.path_of(folder, seed),
            detector_file.DetectorFile(
                config.method, detector, category.dataset, category.name, seed, scales
            ),
        )


def _write(
    config: Experiment,
    folder: epath.Path,
    category: Category,
    maps: Mapping[str, np.ndarray],
    result: CategoryResult,
) -> None:
    """The figures, and last the numbers, which say that a category is finished."""
    run_figures.draw(folder, category, maps, result, config.figure_images)
    run_figures.draw_training(folder, read_rows(folder / ROWS))
    result_files.write_result(folder, result)


def calibrated(
    method: Method, trained: TrainResult, category: Category, places: Sequence[int]
) -> list[DetectorState]:
    """A detector for each of the seeds at `places`."""
    here = [trained.learned[trained.places.index(place)] for place in places]
    return [
        DetectorState(
            trained.frozen,
            learned,
            method.calibrate(trained.frozen, learned, category.validation),
        )
        for learned in here
    ]


def _say_turn(turn: str) -> None:
    print_line(f"score       map {turn}")


def _write_maps(
    folder: epath.Path, category: Category, seeds: Sequence[int], maps: np.ndarray
) -> None:
    for seed, seed_maps in zip(seeds, maps, strict=True):
        map_files.write_maps(
            folder / f"seed_{seed}",
            category.name,
            category.test_images,
            map_files.upsampled(seed_maps, category.test_images),
        )


def report(
    config: Experiment,
    folder: epath.Path,
    results: Sequence[CategoryResult],
    sentences: Sequence[str],
) -> None:
    """Writes report.md and the page of it."""
    write_report(
        folder / REPORT,
        config.method.title,
        sentences,
        results,
        run_figures.links(folder, [result.name for result in results]),
    )
    html.write(folder / REPORT)


def _say_result(result: CategoryResult) -> None:
    values = result_files.metrics(result.combined) if result.combined else None
    if values is None:
        told = "no test images: only the validation images were scored"
        print_line(f"result      {told}", result=True)
        return
    spro = {k: v["0.05"] for k, v in values["localization"]["auc_spro"].items()}
    for title, numbers, note in (
        ("AU-ROC", values["classification"]["auc_roc"], "of images"),
        ("AU-sPRO", spro, "up to a false positive rate of 0.05"),
    ):
        cells = ", ".join(
            f"{kind.removesuffix('_anomalies')} "
            + ("-" if numbers[kind] is None else f"{numbers[kind]:.3f}")
            for kind in ("structural_anomalies", "logical_anomalies", "mean")
        )
        print_line(f"{title:<12}{cells} ({note})", result=True)


def hardware(options: LoopOptions, minutes: float) -> str:
    """Devices, versions and time, as a sentence of the report."""
    devices = options.layout.devices
    on = (
        f" of {multihost.num_processes()} processes"
        if multihost.num_processes() > 1
        else ""
    )
    return (
        f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform}){on}, "
        f"Python {platform.python_version()}, jax {jax.__version__}, gcad_jax "
        f"{__version__}; the command took {minutes:.1f} minutes, without "
        "earlier ones that it continued."
    )
