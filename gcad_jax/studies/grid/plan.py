"""The runs of a study before any starts: which there are, and how long they take."""

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Iterator, Sequence

import jax
from etils import epath

from gcad_jax.config import Experiment, serialization, validation
from gcad_jax.core import multihost
from gcad_jax.core.console import pluralize, print_line
from gcad_jax.core.errors import UserError, is_out_of_memory
from gcad_jax.runs import workdir
from gcad_jax.runs.devices import loop_options
from gcad_jax.runs.evaluate_category import has_results
from gcad_jax.runs.lock import InUse
from gcad_jax.runs.plan import (
    Plan,
    images_to_score,
    measure_category,
    training_images,
)
from gcad_jax.runs.train_and_evaluate import load_category
from gcad_jax.studies.grid.study import Study
from gcad_jax.training.checkpoint import CHECKPOINTS, newest_step
from gcad_jax.training.cost.estimate import Cost, duration

RUNS_SECONDS = 20.0  # after which a plan measures no further run
CATEGORIES = ("category", "categories")


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run that the study is made of.

    config: resolved, where `plan_runs` made it. folder: its workdir. cell: the part of
    the study's config that it is made from.
    """

    dataset: str
    name: str
    config: Experiment
    folder: epath.Path
    cell: str

    @property
    def label(self) -> str:
        """Data set and run, for a person."""
        return f"{self.dataset}/{self.name}"

    def resolve(self) -> "PlannedRun":
        """The same with its config checked and resolved; raises UserError."""
        return dataclasses.replace(self, config=validation.resolve(self.config))

    def unfinished(self) -> list[str]:
        """The categories without results."""
        names = self.config.data.names()
        return [n for n in names if not has_results(self.config, self.folder / n)]

    def progress(self) -> str:
        """': 1 of 5 categories finished, can at update 300'; '' where nothing is."""
        unfinished = self.unfinished()
        total = len(self.config.data.names())
        parts = []
        if done := total - len(unfinished):
            parts.append(f"{done} of {pluralize(total, *CATEGORIES)} finished")
        for name in unfinished:
            if step := newest_step(self.folder / name / CHECKPOINTS):
                parts.append(f"{name} at update {step:,}")
        return f": {', '.join(parts)}" if parts else ""

    @contextlib.contextmanager
    def name_errors(self) -> Iterator[None]:
        """Errors of the block name the run, and fields as they are called in a study.

        Raises:
          UserError: as the block, or where the device has too little memory.
        """
        try:
            yield
        except InUse:
            raise
        except UserError as error:
            raise self.renamed(error) from error
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            field = f"{self.dataset}.{self.cell}.method.batch_size"
            raise UserError(
                f"{self.label} does not fit into the memory of the device; lower "
                f"{field}=N or inference_batch_size, or train fewer seeds at once.",
                field,
            ) from error

    def renamed(self, error: UserError) -> UserError:
        """The error with the fields as they are called in a study."""

        def field_of_study(field: str) -> str:
            if field.startswith("data."):
                return f"{self.dataset}.{field}"
            if field == "cache_features" or field.startswith("method."):
                return f"{self.dataset}.{self.cell}.{field}"
            return field

        text = str(error)
        text = text if self.label in text else f"{self.label}: {text}"
        renamed = UserError(text, *error.fields)
        renamed.agreed = error.agreed
        renamed.rename_fields(field_of_study)
        return renamed


def planned_run(
    study: Study, dataset: str, name: str, config: Experiment, folder: epath.Path
) -> PlannedRun:
    """A run of the study, its config as the study has it, unresolved."""
    return PlannedRun(dataset, name, config, folder / dataset / name, study.cell(name))


def plan_runs(study: Study, folder: epath.Path) -> list[PlannedRun]:
    """The chosen runs of the study, data set by data set.

    Raises:
      UserError: a field outside its range, a category that is not there, a run that was
        begun in `folder` with other settings.
    """
    planned = []
    for dataset in study.groups():
        for name, config in study.experiments(dataset).items():
            run = planned_run(study, dataset, name, config, folder)
            with run.name_errors():
                run = run.resolve()
                run.config.data.names()
                if run.folder.is_dir():
                    workdir.check_config(run.folder, serialization.as_dict(run.config))
            planned.append(run)
    return planned


def print_runs(planned: Sequence[PlannedRun]) -> None:
    """How many runs on what, and how many of them are finished."""
    for dataset, group in itertools.groupby(planned, lambda run: run.dataset):
        runs = list(group)
        finished = sum(not run.unfinished() for run in runs)
        categories = len(runs[0].config.data.names())
        print_line(
            f"study       {dataset}: {pluralize(len(runs), 'run')} x "
            f"{pluralize(categories, *CATEGORIES)}, {finished} finished"
        )
        for run in runs:
            seeds = ", ".join(map(str, run.config.seeds))
            plural = "s" if len(run.config.seeds) > 1 else ""
            print_line(
                f"            {run.name}: {run.config.method.title}, "
                f"seed{plural} {seeds}{run.progress()}"
            )


def estimate_runs(planned: Sequence[PlannedRun]) -> Plan:
    """Times the first updates of what is not finished; prints that of each run."""
    total, started, left_out = 0.0, time.monotonic(), 0
    for run in planned:
        if not (names := multihost.run_on_first(run.unfinished)):
            continue
        if multihost.run_on_first(lambda: time.monotonic() - started > RUNS_SECONDS):
            left_out += 1
            print_line(
                f"estimate    {run.label}: not compiled, as the plan would take more "
                "than a minute; plan it alone by the field runs"
            )
            continue
        try:
            with run.name_errors():
                seconds, cost = estimate_run(run, names)
        except UserError as error:
            if multihost.is_mine(error):
                raise
            print_line(f"estimate    {run.label}: cannot start: {error}")
            continue
        total += seconds
        text = "nothing to train"
        if cost and not cost.update_seconds:
            text += f"; preparing and scoring take {duration(seconds)}"
        elif cost:
            text = (
                f"{duration(seconds)}, {cost.parameters:,} trained parameters, "
                f"{cost.device_bytes / 2**20:,.0f} MiB a device"
            )
        print_line(f"estimate    {run.label}: {text}")
    sentence = (
        f"about {duration(total)} in all; scoring comes on top for what is trained"
    )
    lines = [sentence]
    if left_out:
        lines.append(f"{pluralize(left_out, 'run')} not among them: not compiled")
    return Plan(total, lines, keeps_programs=True)


def estimate_run(run: PlannedRun, names: Sequence[str]) -> tuple[float, Cost | None]:
    """Seconds that the categories `names` of a run still need, and cost.

    They are of preparing and training; of a method that trains nothing, of preparing
    and scoring. A few updates of every phase, or images, are timed on the first
    category; the others have as many as they ask for, at the same speed. Without a
    cost where scoring alone is left.
    """
    config = run.config
    total, cost = 0.0, None
    prepare_seconds = image_seconds = 0.0
    for name in names:
        category = load_category(config, name)
        phases = config.method.phases(training_images(config, category).steps_per_epoch)
        checkpoints = run.folder / name / CHECKPOINTS
        done = multihost.run_on_first(functools.partial(newest_step, checkpoints))
        if phases and done >= sum(phase.num_steps for phase in phases):
            continue
        if cost is None:
            measured = measure_category(config, category, loop_options(config))
            cost, prepare_seconds, image_seconds = measured
        total += prepare_seconds + cost.seconds(phases, done)
        total += images_to_score(category) * image_seconds
    return total, cost
