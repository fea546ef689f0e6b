"""The main job: every category trained, evaluated, and all of it reported."""

import functools
import os
import pathlib
import platform
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from gcad_jax import config as configs
from gcad_jax import figures, workdir
from gcad_jax.config import Experiment, Training
from gcad_jax.data.category import Category
from gcad_jax.evaluation import maps as map_files
from gcad_jax.evaluation import metrics
from gcad_jax.evaluation.maps import MAPS
from gcad_jax.evaluation.report import write_report
from gcad_jax.evaluation.scores import CategoryResult, evaluate
from gcad_jax.methods.base import Detector, Method
from gcad_jax.methods.inference import all_maps, anomaly_maps
from gcad_jax.training.logs import read_rows
from gcad_jax.training.loop import LoopOptions, Trained, train
from gcad_jax.training.parallel import per_device
from gcad_jax.training.step import UNROLL, VMAP, StepOptions
from gcad_jax.types import COMBINED

REPORT = "report.md"


LABEL = " " * 12  # every line begins with a label of this width


def say(line: str) -> None:
    """One line for the person at the terminal, wrapped where it is one."""
    if sys.stdout.isatty():
        width = max(40, shutil.get_terminal_size().columns)
        line = "\n".join(
            textwrap.fill(part, width, subsequent_indent=LABEL, break_long_words=False)
            for part in line.split("\n")
        )
    print(line, flush=True)


def run(
    config: Experiment, path: str, programs: pathlib.Path | None = None
) -> list[CategoryResult]:
    """Trains, evaluates and reports all categories of a config in folder `path`.

    What is finished there is kept, what was interrupted is continued.
    programs: folder of the compiled programs, where several runs share them.

    Raises:
      UserError: a mistake in config, data or folder.
      Preempted: on SIGTERM, after saving.
    """
    config = configs.resolve(config)
    options = loop_options(config, config.method.batch_size, config.cache_features)
    names = config.data.names()
    started = time.monotonic()
    with workdir.opened(path, configs.as_dict(config)) as folder:
        keep_programs(programs or folder)
        results, sentences = [], {}
        complete = all((folder / name / metrics.METRICS).exists() for name in names)
        for name in names:
            result, described = run_category(config, name, folder / name, options)
            results.append(result)
            sentences.update(dict.fromkeys(described))
        if not (complete and (folder / REPORT).exists()):
            minutes = (time.monotonic() - started) / 60
            report(config, folder, results, [*sentences, hardware(options, minutes)])
        say(f"\nreport      {folder / REPORT}")
    return results


def keep_programs(folder: pathlib.Path) -> None:
    """So that a resumed run need not compile again."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(folder / ".programs"))


def loop_options(
    config: Training, batch: int, cache_features: bool = False
) -> LoopOptions:
    """Devices and layout of the steps; raises UserError where they do not fit.

    batch: examples of one update.
    """
    available = jax.devices()
    count = config.num_devices
    if not count:
        count = max(n for n in range(1, len(available) + 1) if batch % n == 0)
    per_device("config.batch_size", batch, count)
    if count > len(available):
        raise configs.checks.UserError(
            f"config.num_devices is {count}; there are {len(available)} "
            f"{available[0].platform} devices."
        )
    on_cpu = available[0].platform == "cpu"
    return LoopOptions(
        devices=available[:count],
        step=StepOptions(
            config.map_seeds or (UNROLL if on_cpu else VMAP),
            config.steps_per_call,
        ),
        checkpoint_minutes=config.checkpoint_minutes,
        log_every=config.log_every,
        cache_features=cache_features,
    )


def run_category(
    config: Experiment, name: str, folder: pathlib.Path, options: LoopOptions
) -> tuple[CategoryResult, tuple[str, ...]]:
    """Result of one category, and what the method says of itself."""
    method = config.method
    say(f"\n== {name}")
    category = config.data.load(name, method.image_size, method.channels)
    folder.mkdir(parents=True, exist_ok=True)
    same_tests = workdir.check_data(folder, category)
    if same_tests and has_results(config, folder, len(category.test) > 0):
        say("finished    earlier: its results are kept")
        return metrics.read_result(folder), method.describe()
    for line in method.describe():
        say(f"method      {line}")
    trained = train(
        method, category, config.seeds, folder, options, configs.as_dict(config), say
    )
    result = evaluate_category(config, category, trained, folder)
    metrics.write_result(folder, result)
    _say_result(result)
    return result, method.describe()


def has_results(config: Experiment, folder: pathlib.Path, tests: bool = True) -> bool:
    """Whether a category has all that it is to have. tests: it has test images."""
    wanted = [metrics.METRICS, metrics.DETAILS]
    if config.write_maps and tests:
        wanted.append(MAPS)
    return all((folder / file).exists() for file in wanted)


def evaluate_category(
    config: Experiment, category: Category, trained: Trained, folder: pathlib.Path
) -> CategoryResult:
    """Calibrates on the validation images, scores the test images, draws them."""
    method = config.method
    say(f"evaluate    {len(category.test)} test images")
    # On the device once, not with every batch.
    detectors = jax.device_put(calibrated(method, trained, category))
    maps = functools.partial(anomaly_maps, method, jax.jit(all_maps(method)), detectors)
    validation = maps(category.validation)[COMBINED]
    branches: Mapping[str, np.ndarray] = {}
    scores: Mapping[str, tuple] = {}
    if len(category.test):
        branches = maps(category.test)
        scores = evaluate(category.test_images, branches, _say_turn)
    result = CategoryResult(
        dataset=category.dataset,
        name=category.name,
        complete=category.complete,
        notes=category.notes,
        seeds=tuple(config.seeds),
        images=tuple((image.name, image.kind) for image in category.test_images),
        branches=scores,
        validation=tuple(
            tuple(float(x) for x in seed.max(axis=(1, 2))) for seed in validation
        ),
    )
    figures.draw(folder, category, branches, result, config.figure_images)
    figures.draw_training(folder, read_rows(folder / "metrics.jsonl"))
    if config.write_maps and len(category.test):
        _write_maps(folder / MAPS, category, config.seeds, branches[COMBINED])
    return result


def calibrated(method: Method, trained: Trained, category: Category) -> list[Detector]:
    """A detector for each seed."""
    return [
        Detector(
            trained.frozen,
            learned,
            method.calibrate(trained.frozen, learned, category.validation),
        )
        for learned in trained.learned
    ]


def _say_turn(turn: str) -> None:
    say(f"score       map {turn}")


def _write_maps(
    folder: pathlib.Path, category: Category, seeds: Sequence[int], maps: np.ndarray
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
    folder: pathlib.Path,
    results: Sequence[CategoryResult],
    sentences: Sequence[str],
) -> None:
    """Writes report.md."""
    write_report(
        folder / REPORT,
        config.method.title,
        sentences,
        results,
        figures.links(folder, [result.name for result in results]),
    )


def _say_result(result: CategoryResult) -> None:
    values = metrics.metrics(result.combined) if result.combined else None
    if values is None:
        say("result      no test images: only the validation images were scored")
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
        say(f"{title:<12}{cells} ({note})")


def hardware(options: LoopOptions, minutes: float) -> str:
    """Devices, versions and time, as a sentence of the report."""
    device = options.devices[0]
    return (
        f"{len(options.devices)} x {device.device_kind} ({device.platform}), "
        f"Python {platform.python_version()}, jax {jax.__version__}; the command "
        f"took {minutes:.1f} minutes, without earlier ones that it continued."
    )
