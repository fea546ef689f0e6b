"""What a job would do and what it would cost, said before it is done.

Nothing is trained and nothing written but compiled programs, which the job then finds.
"""

import dataclasses
import functools
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from etils import epath

from gcad_jax.config import Experiment, serialization, validation
from gcad_jax.core import multihost
from gcad_jax.core.axes import accelerators
from gcad_jax.core.console import LABEL_INDENT, pluralize, print_line
from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.machine.program_folder import keep_in_workdir
from gcad_jax.core.paths import is_local
from gcad_jax.core.types import Tree
from gcad_jax.data.dataset import Category
from gcad_jax.evaluation.map_files import MAPS
from gcad_jax.inference.detector_file import DETECTORS
from gcad_jax.methods.base import DetectorState, Method
from gcad_jax.methods.common.apply import all_maps, score_images
from gcad_jax.runs import workdir
from gcad_jax.runs.devices import loop_options
from gcad_jax.runs.evaluate_category import has_results
from gcad_jax.runs.train_and_evaluate import load_category
from gcad_jax.runs.workdir import REPORT
from gcad_jax.training.checkpoint import CHECKPOINTS, newest_step
from gcad_jax.training.cost import summary
from gcad_jax.training.cost.estimate import Cost, duration, measure_cost, megabytes
from gcad_jax.training.frozen_cache import FROZEN
from gcad_jax.training.input_pipeline import InMemory
from gcad_jax.training.options import LoopOptions

# After as long no further program is compiled, so that a plan is there in a minute.
COMPILING_SECONDS = 25.0
FEW_IMAGES = 2  # training images that stand for all, where all are only counted


@dataclasses.dataclass(frozen=True)
class Plan:
    """What remains to be done of a job.

    seconds: of what was estimated of it, on this machine.
    estimate: how long all will take, in lines; () where nobody asked.
    writes: what will be written and where, in lines.
    keeps_programs: programs were compiled for it, which the job will find.
    """

    seconds: float = 0.0
    estimate: Sequence[str] = ()
    writes: Sequence[str] = ()
    keeps_programs: bool = False


@dataclasses.dataclass(frozen=True)
class Job:
    """What a kind of config is for.

    run, plan: called with the config and a workdir; `plan` prints what it finds as it
    goes. alone: what it is called where it runs on one host only; "" on any number.
    """

    run: Callable[[Any, str], Any]
    plan: Callable[[Any, str], Plan]
    alone: str = ""


def print_plan(plan: Plan) -> None:
    """Estimate, files, and the compiled programs that a plan leaves behind."""
    _print_lines("\nestimate    ", plan.estimate, result=True)
    _print_lines("writes      ", plan.writes)
    if plan.keeps_programs:
        place = jax.config.values["jax_compilation_cache_dir"]
        print_line(
            f"kept        {place}: compiled programs, which the run need not compile "
            "again"
        )


def _print_lines(label: str, lines: Sequence[str], result: bool = False) -> None:
    for line in lines[:1]:
        print_line(label + line, result)
    for line in lines[1:]:
        print_line(LABEL_INDENT + line)


def plan_run(config: Experiment, path: str) -> Plan:
    """What `train_and_evaluate.run` would do in folder `path`; prints each category.

    Raises:
      UserError: a mistake in config, data or folder, as the run would.
    """
    config = validation.resolve(config)
    multihost.check_equal(serialization.shared_settings(config), "the settings")
    options = loop_options(config)
    names = multihost.run_on_first(config.data.names)
    settings = serialization.as_dict(config)
    folder = multihost.run_on_first(lambda: workdir.check_workdir(path, settings))
    state = "there already" if folder.is_dir() else "new"
    print_line(
        f"plan        {config.method.title}, nothing is trained; {folder} is {state}"
    )
    keep_in_workdir(folder)
    for line in config.method.describe():
        print_line(f"method      {line}")
    remaining = _Remaining(config, folder, options)
    for name in names:
        print_line(f"\n== {name}")
        remaining.add(name)
    if not remaining.categories:
        return Plan(estimate=("nothing is left to do",))
    return Plan(remaining.seconds, remaining.estimate(), remaining.writes(), True)


@dataclasses.dataclass
class _Remaining:
    """What is left to do of the categories of a run, added up.

    categories: number of those without all results. trainings: of them, how many are
        still trained, in `updates` and `seconds`.
    cost, prepare_seconds: of the first that is trained; None and 0 before.
    image_seconds: of scoring one of its images, where nothing is trained.
    images: to be scored, of the categories that are not finished.
    map_bytes: of their anomaly maps.
    """

    config: Experiment
    folder: epath.Path
    options: LoopOptions
    categories: int = 0
    trainings: int = 0
    updates: int = 0
    seconds: float = 0.0
    cost: Cost | None = None
    prepare_seconds: float = 0.0
    image_seconds: float = 0.0
    images: int = 0
    map_bytes: int = 0

    def add(self, name: str) -> None:
        """Prints what is known of a category; the first to be trained is measured."""
        config = self.config
        category = load_category(config, name)
        for line in summary.data_lines(category):
            print_line(line)
        finished, done = multihost.run_on_first(
            functools.partial(_progress, config, category, self.folder / name)
        )
        phases = config.method.phases(training_images(config, category).steps_per_epoch)
        total = sum(phase.num_steps for phase in phases)
        print_line(f"state       {_state_text(finished, done, total)}")
        if finished:
            return
        self.categories += 1
        self.images += images_to_score(category)
        if config.write_maps:
            pixels = sum(image.height * image.width for image in category.test_images)
            self.map_bytes += 4 * pixels * len(config.seeds)  # float32
        if total and done >= total:
            return
        self.trainings += 1
        self.updates += total - done
        if self.cost is None:
            measured = measure_category(config, category, self.options)
            self.cost, self.prepare_seconds, self.image_seconds = measured
            if epochs := getattr(config.method, "epochs", None):
                count = pluralize(epochs, "epoch")
                print_line(f"training    {count}, {total:,} updates")
            for line in self.cost.lines:
                print_line(line)
        self.seconds += self.cost.seconds(phases, done)

    def estimate(self) -> list[str]:
        """How long it will take, as far as it was measured."""
        if self.cost is None:
            return ["nothing is left to train; scoring is all that is left"]
        seconds = duration(self.prepare_seconds)
        prepared = f"preparing took {seconds}"
        if self.updates:
            prepared = f"preparing takes at most about {seconds}"
        if self.trainings > 1:
            prepared += " and is done for each category"
        if not self.updates:
            scoring = duration(self.images * self.image_seconds)
            return [
                f"nothing is trained; {prepared}",
                f"scoring takes about {scoring}, for {self.images:,} images; results "
                "come on top",
            ]
        return [
            f"about {duration(self.seconds)} of training here: {self.updates:,} "
            "updates",
            f"compiling took {duration(self.cost.compile_seconds)}, {prepared}; "
            "scoring comes on top",
        ]

    def writes(self) -> list[str]:
        """The large files of all categories that are not finished, with sizes."""
        count, cost = self.categories, self.cost
        categories = pluralize(count, "category", "categories")
        lines = [f"for {categories}, below {self.folder}:"]
        if cost and cost.state_bytes:
            states = megabytes(2 * cost.state_bytes * count)
            lines.append(f"{CHECKPOINTS}/ {states}: the last two states")
            lines.append(f"{FROZEN} {megabytes(cost.frozen_bytes * count)}")
        if cost and self.config.write_detectors:
            frozen = cost.frozen_bytes * len(self.config.seeds)
            size = megabytes((frozen + cost.learned_bytes) * count)
            lines.append(f"{DETECTORS}/ {size}: one a seed")
        if self.config.write_maps:
            lines.append(f"{MAPS}/ {megabytes(self.map_bytes)}: of the test images")
        lines.append(f"{REPORT}, results, figures and logs: a few MB a category")
        if is_local(self.folder):
            folders = (self.folder, *self.folder.parents)
            disk = shutil.disk_usage(next(p for p in folders if p.exists()))
            lines.append(f"{megabytes(disk.free)} are free there")
        return lines


def images_to_score(category: Category) -> int:
    """Of the test once; those to validate on twice, for they set the scale first."""
    return 2 * len(category.validation) + len(category.test)


def training_images(config: Experiment, category: Category) -> InMemory:
    """The training images as the run takes them."""
    return InMemory(config.method, category, config.seeds, config.cache_features)


def measure_category(
    config: Experiment,
    category: Category,
    options: LoopOptions,
    until: float | None = None,
) -> tuple[Cost, float, float]:
    """Cost of training on a category, and about the seconds of its frozen part.

    The third are the seconds of scoring an image, of a method that trains nothing.
    The frozen part of one that is trained is made of a few images, and its seconds are
    multiplied: its shapes do not depend on their number.

    until: as of `time.monotonic`, when no further phase is compiled; by default
        `COMPILING_SECONDS` from now.
    """
    method, started = config.method, time.monotonic()
    until = started + COMPILING_SECONDS if until is None else until
    count = len(category.train)
    trained = bool(method.phases(training_images(config, category).steps_per_epoch))
    few = min(count, _sample_size(method)) if trained else count
    of = f", of {few} of {count} images" if few < count else ""
    print_line(f"preparing   what is not trained{of}")
    frozen = jax.block_until_ready(method.prepare(category.train[:few]))
    if few < count:  # once more: the first time compiles
        started = time.monotonic()
        jax.block_until_ready(method.prepare(category.train[:few]))
    prepare_seconds = (time.monotonic() - started) * count / few
    if not trained:
        size = summary.num_bytes(frozen)
        image_seconds = measure_scoring(method, category, frozen)
        return Cost({}, 0.0, size, 0, 0, 0, size, ()), prepare_seconds, image_seconds
    images = InMemory(method, category, config.seeds, config.cache_features, few)
    cost = measure_cost(method, images, frozen, config.seeds, options, until)
    return cost, prepare_seconds, 0.0


def _sample_size(method: Method) -> int:
    """Images that a frozen part can be made of; a code of g numbers needs more."""
    coded = getattr(method, "classifier", None)
    return max(FEW_IMAGES, coded.g + 1 if coded else 0)


def measure_scoring(method: Method, category: Category, frozen: Tree) -> float:
    """Seconds of scoring an image by a method that trains nothing, without compiling.

    Measured on a few validation images, which come to the same as any others.
    """
    images = category.validation[: 2 * method.inference_batch_size]
    if not len(images):
        return 0.0
    learned = method.init(jax.random.key(0))
    calibration = method.calibrate(frozen, learned, images)
    detector = DetectorState(frozen, learned, calibration)
    score = functools.partial(
        score_images,
        method,
        jit_here(all_maps(method), accelerators()),
        [detector],
        images,
        devices=accelerators(),
    )
    print_line("compiling   the program that scores")
    score()
    started = time.monotonic()
    score()
    return (time.monotonic() - started) / len(images)


def _progress(
    config: Experiment, category: Category, folder: epath.Path
) -> tuple[bool, int]:
    """Whether a category is finished, and how many updates of it are done."""
    same_tests = workdir.check_data(folder, category, update=False)
    finished = same_tests and has_results(config, folder, len(category.test) > 0)
    return finished, newest_step(folder / CHECKPOINTS)


def _state_text(finished: bool, done: int, total: int) -> str:
    if finished:
        return "finished: its results would be kept"
    if done >= total > 0:
        return f"trained, all {total:,} updates; it would be scored"
    if done:
        return f"a checkpoint at update {done:,} of {total:,}, where it would go on"
    return "not begun"
