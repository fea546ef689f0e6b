"""The runs of a study before any starts: which there are, and how long they take."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
from etils import epath

from gcad_jax import config as configs
from gcad_jax import experiment, hosts, workdir
from gcad_jax.checks import UserError
from gcad_jax.config import Experiment
from gcad_jax.experiment import has_results
from gcad_jax.speech import say
from gcad_jax.study import Study
from gcad_jax.training.checkpoint import FOLDER as CHECKPOINTS
from gcad_jax.training.checkpoint import newest_step
from gcad_jax.training.feed import Resident
from gcad_jax.training.timing import time_phases

T = TypeVar("T")
# Of each phase, after one to warm up: f-AnoGAN's updates repeat after five.
TIMED_CALLS = 5


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

    def explained(self, error: Exception) -> UserError:
        """The error with the flags as they are called in a study."""
        text = str(error)
        text = text.replace("--config.data.", f"--config.{self.dataset}.data.")
        own = f"--config.{self.dataset}.{self.cell}."
        text = text.replace("--config.method.", f"{own}method.")
        text = text.replace("--config.cache_features", f"{own}cache_features")
        told = UserError(text if self.label in text else f"{self.label}: {text}")
        told.agreed = getattr(error, "agreed", False)
        return told


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
        say(
            f"study       {dataset}: {_counted(len(runs), 'run', 'runs')} x "
            f"{_counted(categories, 'category', 'categories')}, {done} finished"
        )
        for one in runs:
            seeds = ", ".join(map(str, one.config.seeds))
            plural = "s" if len(one.config.seeds) > 1 else ""
            say(
                f"            {one.name}: {one.config.method.title}, "
                f"seed{plural} {seeds}"
            )


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def say_estimate(planned: Sequence[Planned]) -> float:
    """Times the first updates of what is not finished; returns seconds of training."""
    total = 0.0
    for one in planned:
        if not (names := hosts.from_first(one.unfinished)):
            continue
        try:
            seconds = attempt(functools.partial(estimate, one, names), one)
        except UserError as error:
            if hosts.is_mine(error):
                raise
            say(f"estimate    {one.label}: cannot start: {error}")
            continue
        total += seconds
        trains = f"{seconds / 60:.1f} min" if seconds else "nothing to train"
        say(f"estimate    {one.label}: {trains}")
    say(
        f"estimate    about {total / 60:.1f} minutes of training in all; compiling, "
        "preparing and scoring come on top"
    )
    return total


def estimate(one: Planned, names: Sequence[str]) -> float:
    """Seconds of training that the categories `names` of a run still need.

    A few updates of every phase are timed on the first category; the others have as
    many updates as they ask for, at the same speed.
    """
    config, method = one.config, one.config.method
    total, per_update = 0.0, dict[str, float]()
    for name in names:
        category = hosts.together(
            functools.partial(
                config.data.load, name, method.image_size, method.channels
            )
        )
        feed = Resident(method, category, config.seeds, config.cache_features)
        phases = method.phases(feed.steps_per_epoch)
        saved = one.folder / name / CHECKPOINTS
        done = hosts.from_first(functools.partial(newest_step, saved))
        if done >= sum(phase.num_steps for phase in phases):
            continue
        if not per_update:
            options = experiment.options_of(config)
            frozen = method.prepare(category.train)
            timed = time_phases(
                method, feed, frozen, config.seeds, options, TIMED_CALLS
            )
            per_update = {t.name: t.step_seconds for t in timed}
        for phase in phases:
            left = max(0, phase.num_steps - done)
            done = max(0, done - phase.num_steps)
            total += left * per_update[phase.name]
    return total


def attempt(call: Callable[[], T], one: Planned) -> T:
    """What `call` returns; raises UserError where the device has too little memory."""
    try:
        return call()
    except workdir.InUse:
        raise
    except UserError as error:
        raise one.explained(error) from error
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"{one.label} does not fit into the memory of the device; lower "
            f"--config.{one.dataset}.{one.cell}.method.batch_size or "
            "inference_batch_size, or train fewer seeds at once."
        ) from error
