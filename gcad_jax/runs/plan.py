"""What a run would do and what it would cost, said before it is done.

Nothing is trained and nothing written but compiled programs, which the run then finds.
"""

import functools
import shutil
import time
from collections.abc import Sequence

import jax
from etils import epath

from gcad_jax.config import Experiment
from gcad_jax.config import experiment as configs
from gcad_jax.core import console, multihost
from gcad_jax.core.console import print_line
from gcad_jax.core.paths import is_local
from gcad_jax.data.dataset import Category
from gcad_jax.evaluation.map_files import MAPS
from gcad_jax.inference import detector_file
from gcad_jax.methods.base import Method
from gcad_jax.runs import devices, evaluate_category, train_and_evaluate, workdir
from gcad_jax.training.checkpoint import CHECKPOINTS, newest_step
from gcad_jax.training.cost import summary
from gcad_jax.training.cost.estimate import Cost, duration, measure_cost, megabytes
from gcad_jax.training.frozen_cache import FROZEN
from gcad_jax.training.input_pipeline import InMemory
from gcad_jax.training.options import LoopOptions


def measured_on(
    config: Experiment, category: Category, options: LoopOptions
) -> tuple[Cost, float]:
    """Of a run on a category; and the seconds that preparing the frozen part took."""
    method, started = config.method, time.monotonic()
    frozen = jax.block_until_ready(method.prepare(category.train))
    prepared = time.monotonic() - started
    feed = feed_of(config, category)
    if not method.phases(feed.steps_per_epoch):
        size = summary.num_bytes(frozen)
        return Cost({}, 0.0, size, 0, 0, 0, size, ()), prepared
    return measure_cost(method, feed, frozen, config.seeds, options), prepared


def feed_of(config: Experiment, category: Category) -> InMemory:
    """The training images as the run takes them."""
    return InMemory(config.method, category, config.seeds, config.cache_features)


def plan(config: Experiment, path: str) -> float:
    """Says what `experiment.run` would do in folder `path`.

    Returns the seconds that its updates would take.

    Raises:
      UserError: a mistake in config, data or folder, as the run would.
    """
    config = configs.resolve(config)
    multihost.check_equal(configs.settings(config), "the settings")
    options = devices.loop_options(config)
    names = multihost.run_on_first(config.data.names)
    settings = configs.as_dict(config)
    folder = multihost.run_on_first(lambda: workdir.checked(path, settings))
    there = "there already" if folder.is_dir() else "new"
    print_line(
        f"plan        {config.method.title}, nothing is trained; {folder} is {there}"
    )
    devices.set_compilation_cache(folder)
    for line in config.method.describe():
        print_line(f"method      {line}")
    found = _Found(config, folder, options)
    for name in names:
        print_line(f"\n== {name}")
        found.add(name)
    found.conclude(names)
    return found.seconds


class _Found:
    """What the categories of a run need, added up."""

    def __init__(
        self, config: Experiment, folder: epath.Path, options: LoopOptions
    ) -> None:
        self.config, self.folder, self.options = config, folder, options
        self.cost: Cost | None = None
        self.prepare_seconds, self.prepared = 0.0, 0
        self.updates, self.seconds, self.map_bytes = 0, 0.0, 0
        self.unfinished: list[str] = []

    def add(self, name: str) -> None:
        """Says what is known of a category; the first to be trained is measured."""
        category = train_and_evaluate.load_category(self.config, name)
        for line in summary.data_lines(category):
            print_line(line)
        own = self.folder / name
        finished, done = multihost.run_on_first(
            functools.partial(_where, self.config, category, own)
        )
        phases = self.config.method.phases(
            feed_of(self.config, category).steps_per_epoch
        )
        total = sum(phase.num_steps for phase in phases)
        print_line(f"state       {_state(finished, done, total)}")
        if finished:
            return
        self.unfinished.append(name)
        if self.config.write_maps:
            pixels = sum(image.height * image.width for image in category.test_images)
            self.map_bytes += 4 * pixels * len(self.config.seeds)
        if total and done >= total:
            return
        self.prepared += 1
        self.updates += total - done
        if self.cost is None:
            self.cost, self.prepare_seconds = measured_on(
                self.config, category, self.options
            )
            for line in (*_training(self.config.method, total), *self.cost.lines):
                print_line(line)
        self.seconds += self.cost.seconds(phases, done)

    def conclude(self, names: Sequence[str]) -> None:
        """Says how long all will take, and what it will write."""
        if not self.unfinished:
            print_line("\nestimate    nothing is left to do", result=True)
            return
        first, *others = self.estimate()
        print_line(f"\nestimate    {first}", result=True)
        for line in others:
            print_line(f"            {line}")
        categories = console.pluralize(len(self.unfinished), "category", "categories")
        print_line(f"writes      for {categories}, below {self.folder}:")
        for line in self.files():
            print_line(f"            {line}")
        print_line(
            "            report.md, results, figures and logs: a few MB a category"
        )
        if is_local(self.folder):
            there = next(p for p in (self.folder, *self.folder.parents) if p.exists())
            free = megabytes(shutil.disk_usage(there).free)
            print_line(f"            {free} are free there")
        say_kept()

    def estimate(self) -> list[str]:
        """How long it will take, as far as it was measured."""
        if self.cost is None:
            return ["nothing is left to train; scoring is all that is left"]
        prepared = f"preparing took {duration(self.prepare_seconds)}"
        if self.prepared > 1:
            prepared += " and is done for each category"
        if not self.updates:
            return [f"nothing is trained; {prepared}", "scoring comes on top"]
        return [
            f"about {duration(self.seconds)} of training here: {self.updates:,} "
            "updates",
            f"compiling took {duration(self.cost.compile_seconds)}, {prepared}; "
            "scoring comes on top",
        ]

    def files(self) -> list[str]:
        """The large files of all categories that are not finished, with sizes."""
        lines, count = [], len(self.unfinished)
        if self.cost and self.cost.state_bytes:
            states = 2 * self.cost.state_bytes * count
            lines.append(f"{CHECKPOINTS}/ {megabytes(states)}: the last two states")
            lines.append(f"{FROZEN} {megabytes(self.cost.frozen_bytes * count)}")
        if self.cost and self.config.write_detectors:
            frozen = self.cost.frozen_bytes * len(self.config.seeds)
            size = megabytes((frozen + self.cost.learned_bytes) * count)
            lines.append(f"{detector_file.DETECTORS}/ {size}: one a seed")
        if self.config.write_maps:
            lines.append(f"{MAPS}/ {megabytes(self.map_bytes)}: of the test images")
        return lines


def say_kept() -> None:
    """What a plan leaves behind, and that this is of use."""
    place = jax.config.values["jax_compilation_cache_dir"]
    print_line(
        f"kept        {place}: compiled programs, which the run need not compile again"
    )


def _where(
    config: Experiment, category: Category, folder: epath.Path
) -> tuple[bool, int]:
    """Whether a category is finished, and how many updates of it are."""
    same = workdir.same_data(folder, category)
    tests = len(category.test) > 0
    finished = same and evaluate_category.has_results(config, folder, tests)
    return finished, newest_step(folder / CHECKPOINTS)


def _state(finished: bool, done: int, total: int) -> str:
    if finished:
        return "finished: its results would be kept"
    if done >= total > 0:
        return f"trained, all {total:,} updates; it would be scored"
    if done:
        return f"a checkpoint at update {done:,} of {total:,}, where it would go on"
    return "not begun"


def _training(method: Method, total: int) -> list[str]:
    """Epochs and updates of a method that trains."""
    epochs = getattr(method, "epochs", None)
    if not epochs:
        return []
    return [f"training    {console.pluralize(epochs, 'epoch')}, {total:,} updates"]
