"""The runs of a study before any starts: which there are, and how long they take."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
from etils import epath

from gcad_jax.config import Experiment
from gcad_jax.config import experiment as configs
from gcad_jax.core import multihost
from gcad_jax.core.console import pluralize, print_line
from gcad_jax.core.errors import UserError, is_out_of_memory
from gcad_jax.runs import devices, train_and_evaluate, workdir
from gcad_jax.runs.evaluate_category import has_results
from gcad_jax.runs.plan import feed_of, measured_on
from gcad_jax.studies.grid.study import Study
from gcad_jax.training.checkpoint import CHECKPOINTS, newest_step
from gcad_jax.training.cost.estimate import Cost, duration

T = TypeVar("T")
CATEGORIES = ("category", "categories")


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run that the study is made of.

    config: resolved. folder: its workdir. cell: what its flags are called.
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

    def unfinished(self) -> list[str]:
        """The categories without results."""
        names = self.config.data.names()
        return [n for n in names if not has_results(self.config, self.folder / n)]

    def progress(self) -> str:
        """': 1 of 5 categories finished, can at update 300'; '' where nothing is."""
        left = self.unfinished()
        told, done = list[str](), len(self.config.data.names()) - len(left)
        if done:
            told = [f"{done} of {pluralize(done + len(left), *CATEGORIES)} finished"]
        for name in left:
            if step := newest_step(self.folder / name / CHECKPOINTS):
                told.append(f"{name} at update {step:,}")
        return f": {', '.join(told)}" if told else ""

    def explained(self, error: Exception) -> UserError:
        """The error with the fields as they are called in a study."""
        text = str(error)
        text = text if self.label in text else f"{self.label}: {text}"
        explained = UserError(text, *getattr(error, "fields", ()))
        explained.agreed = getattr(error, "agreed", False)
        explained.rename_fields(self.field_of_study)
        return explained

    def field_of_study(self, field: str) -> str:
        """What a field of the run is called in the config of the study."""
        if field.startswith("data."):
            return f"{self.dataset}.{field}"
        if field == "cache_features" or field.startswith("method."):
            return f"{self.dataset}.{self.cell}.{field}"
        return field


def plan(study: Study, folder: epath.Path) -> list[Planned]:
    """The chosen runs of the study, data set by data set.

    Raises:
      UserError: a field outside its range, a category that is not there, a run that was
        begun in `folder` with other settings.
    """
    planned = []
    for dataset in study.groups():
        for name, config in study.experiments(dataset).items():
            one = planned_run(study, dataset, name, config, folder)
            try:
                one = dataclasses.replace(one, config=configs.resolve(config))
                one.config.data.names()
                if one.folder.is_dir():
                    workdir.check_config(one.folder, configs.as_dict(one.config))
            except UserError as error:
                raise one.explained(error) from error
            planned.append(one)
    return planned


def planned_run(
    study: Study, dataset: str, name: str, config: Experiment, folder: epath.Path
) -> Planned:
    """One of them, its config as the study has it, unresolved."""
    return Planned(dataset, name, config, folder / dataset / name, study.cell(name))


def say_plan(planned: Sequence[Planned]) -> None:
    """How many runs on what, and how many of them are finished."""
    for dataset, own in itertools.groupby(planned, lambda p: p.dataset):
        runs = list(own)
        done = sum(not p.unfinished() for p in runs)
        categories = len(runs[0].config.data.names())
        print_line(
            f"study       {dataset}: {pluralize(len(runs), 'run')} x "
            f"{pluralize(categories, *CATEGORIES)}, {done} finished"
        )
        for one in runs:
            seeds = ", ".join(map(str, one.config.seeds))
            plural = "s" if len(one.config.seeds) > 1 else ""
            print_line(
                f"            {one.name}: {one.config.method.title}, "
                f"seed{plural} {seeds}{one.progress()}"
            )


def say_estimate(planned: Sequence[Planned]) -> float:
    """Times the first updates of what is not finished; returns seconds of training."""
    total = 0.0
    for one in planned:
        if not (names := multihost.run_on_first(one.unfinished)):
            continue
        try:
            seconds, cost = attempt(functools.partial(estimate, one, names), one)
        except UserError as error:
            if multihost.is_mine(error):
                raise
            print_line(f"estimate    {one.label}: cannot start: {error}")
            continue
        total += seconds
        trains = "nothing to train"
        if cost:
            trains = (
                f"{duration(seconds)}, {cost.parameters:,} trained parameters, "
                f"{cost.device_bytes / 2**20:,.0f} MiB a device"
            )
        print_line(f"estimate    {one.label}: {trains}")
    print_line(
        f"estimate    about {duration(total)} of training in all; preparing and "
        "scoring come on top",
        result=True,
    )
    return total


def estimate(one: Planned, names: Sequence[str]) -> tuple[float, Cost | None]:
    """Seconds of training that the categories `names` of a run still need, and cost.

    A few updates of every phase are timed on the first category; the others have as
    many updates as they ask for, at the same speed. Without a cost where nothing is to
    be trained.
    """
    config = one.config
    total, cost = 0.0, None
    for name in names:
        category = train_and_evaluate.load_category(config, name)
        phases = config.method.phases(feed_of(config, category).steps_per_epoch)
        saved = one.folder / name / CHECKPOINTS
        done = multihost.run_on_first(functools.partial(newest_step, saved))
        if done >= sum(phase.num_steps for phase in phases):
            continue
        if cost is None:
            options = devices.loop_options(config)
            cost, _ = measured_on(config, category, options)
        total += cost.seconds(phases, done)
    return total, cost


def attempt(call: Callable[[], T], one: Planned) -> T:
    """What `call` returns; raises UserError where the device has too little memory."""
    try:
        return call()
    except workdir.InUse:
        raise
    except UserError as error:
        raise one.explained(error) from error
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"{one.label} does not fit into the memory of the device; lower "
            f"--config.{one.dataset}.{one.cell}.method.batch_size or "
            "inference_batch_size, or train fewer seeds at once."
        ) from error
