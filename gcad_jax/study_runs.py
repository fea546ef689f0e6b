"""The job of a study of runs: each an ordinary run in a folder of its own.

FOLDER/<data set>/<run>/ is what `gcad_jax.main` makes of that run alone, so that it can
be looked at, continued and compared like any other.
"""

import dataclasses
import itertools
import pathlib
import time
from collections.abc import Mapping, Sequence

from gcad_jax import config as configs
from gcad_jax import experiment, figures, workdir
from gcad_jax.checks import UserError
from gcad_jax.config import Experiment
from gcad_jax.evaluation.maps import MAPS, map_path, read_map
from gcad_jax.evaluation.metrics import METRICS
from gcad_jax.experiment import say
from gcad_jax.files import check_writable
from gcad_jax.plots import qualitative
from gcad_jax.studies import study_report
from gcad_jax.studies.finished import Finished, Runs, as_json
from gcad_jax.study import Study
from gcad_jax.training.checkpoint import FOLDER as CHECKPOINTS
from gcad_jax.training.checkpoint import newest_step
from gcad_jax.training.feed import Resident
from gcad_jax.training.timing import time_phases

TIMED_CALLS = 3  # of each phase, after one to warm up


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run that the study is made of. config: resolved. folder: its workdir."""

    dataset: str
    name: str
    config: Experiment
    folder: pathlib.Path

    @property
    def label(self) -> str:
        """Data set and run, for a person."""
        return f"{self.dataset}/{self.name}"

    def unfinished(self) -> list[str]:
        """The categories without results."""
        names = self.config.data.names()
        return [n for n in names if not (self.folder / n / METRICS).exists()]


def run(study: Study, path: str) -> Runs:
    """Runs what is not finished in folder `path`, and writes what the study is for.

    A run that fails does not stop the others; what they found is written all the same.

    Raises:
      UserError: a mistake in config, data or folder; or at the end, that runs failed.
      Preempted: on SIGTERM, after saving.
    """
    folder = pathlib.Path(path).expanduser()
    files = study_report.outputs(study.name).values()
    check_writable(folder, tuple(files), "--workdir")
    planned = plan(study, folder)
    started = time.monotonic()
    with workdir.locked(folder):
        experiment.keep_programs(folder)
        say_plan(planned)
        if study.estimate or study.plan:
            say_estimate(planned)
        if study.plan:
            return {}
        finished, failures = _run_all(planned, folder)
        if finished:
            minutes = (time.monotonic() - started) / 60
            _write(study, finished, planned, folder, minutes)
            say(f"\nstudy       {folder / study.name}.md")
    if failures:
        told = "; ".join(f"{label}: {error}" for label, error in failures.items())
        raise UserError(
            f"{len(failures)} of {len(planned)} runs failed, and the report is without "
            f"them; the same command tries them again. {told}"
        )
    return finished


def plan(study: Study, folder: pathlib.Path) -> list[Planned]:
    """All runs of the study, data set by data set.

    Raises:
      UserError: a field outside its range, a category that is not there.
    """
    return [
        Planned(dataset, name, configs.resolve(config), folder / dataset / name)
        for dataset in study.groups()
        for name, config in study.experiments(dataset).items()
    ]


def say_plan(planned: Sequence[Planned]) -> None:
    """How many runs on what, and how many of them are finished."""
    for dataset, own in itertools.groupby(planned, lambda p: p.dataset):
        runs = list(own)
        done = sum(not p.unfinished() for p in runs)
        categories = len(runs[0].config.data.names())
        say(
            f"study       {dataset}: {len(runs)} runs x {categories} "
            f"{'category' if categories == 1 else 'categories'}, {done} runs finished"
        )
        for one in runs:
            seeds = ", ".join(map(str, one.config.seeds))
            say(f"            {one.name}: {one.config.method.title}, seeds {seeds}")


def say_estimate(planned: Sequence[Planned]) -> float:
    """Times the first updates of what is not finished; returns seconds of training."""
    total = 0.0
    for one in planned:
        if names := one.unfinished():
            seconds = estimate(one, names)
            total += seconds
            trains = "trains nothing" if not seconds else f"{seconds / 60:.1f} min"
            say(f"estimate    {one.label}: {trains}")
    say(
        f"estimate    about {total / 60:.1f} minutes of training in all; compiling, "
        "preparing and scoring come on top"
    )
    return total


def estimate(one: Planned, names: Sequence[str]) -> float:
    """Seconds of training that the categories `names` of a run still need.

    The first category is timed, by a few updates of every phase; the others have as
    many updates as their images ask for, at the same speed.
    """
    config, method = one.config, one.config.method
    options = experiment.loop_options(config, method.batch_size, config.cache_features)
    category = config.data.load(names[0], method.image_size, method.channels)
    feed = Resident(method, category, config.seeds, config.cache_features)
    if not method.phases(feed.steps_per_epoch):
        return 0.0
    frozen = method.prepare(category.train)
    timings = time_phases(method, feed, frozen, config.seeds, options, TIMED_CALLS)
    of_first = sum(t.num_steps * t.step_seconds for t in timings)
    done = newest_step(one.folder / names[0] / CHECKPOINTS)
    left = 1 - done / sum(t.num_steps for t in timings)
    of_others = 0.0
    for name in names[1:]:
        images = len(config.data.load(name, method.image_size, method.channels).train)
        of_others += of_first * images / len(category.train)
    return of_first * left + of_others


def _run_all(
    planned: Sequence[Planned], folder: pathlib.Path
) -> tuple[dict[str, dict[str, Finished]], dict[str, UserError]]:
    """The results by data set and run, and why the others have none."""
    finished: dict[str, dict[str, Finished]] = {}
    failures: dict[str, UserError] = {}
    for number, one in enumerate(planned, 1):
        say(f"\n#### {one.label} ({number} of {len(planned)})")
        try:
            results = experiment.run(one.config, str(one.folder), folder)
        except UserError as error:
            say(f"failed      {error}")
            failures[one.label] = error
            continue
        run = Finished(one.config.method.title, tuple(results))
        finished.setdefault(one.dataset, {})[one.name] = run
    return finished, failures


def _write(
    study: Study,
    finished: Runs,
    planned: Sequence[Planned],
    folder: pathlib.Path,
    minutes: float,
) -> None:
    """The report, its numbers and its figures."""
    first = planned[0].config
    options = experiment.loop_options(first, first.method.batch_size)
    parts = [f"# {study.title}", experiment.hardware(options, minutes)]
    panels = []
    for dataset, runs in finished.items():
        parts += study.sections(dataset, runs)
        parts += _settings([p for p in planned if p.dataset == dataset], runs)
        panels += study.panels(dataset, runs)
        for name in _draw_maps(dataset, runs, planned, folder):
            parts.append(f"![Maps of {dataset}, one a method]({name})")
    study_report.write(folder, study.name, as_json(finished), parts, panels)


def _settings(planned: Sequence[Planned], runs: Mapping[str, Finished]) -> list[str]:
    """What each method says of itself."""
    lines = [
        f"- {one.name}: {' '.join(one.config.method.describe())}"
        for one in planned
        if one.name in runs
    ]
    return ["### Settings", "\n".join(lines)]


def _draw_maps(
    dataset: str,
    runs: Mapping[str, Finished],
    planned: Sequence[Planned],
    folder: pathlib.Path,
) -> list[str]:
    """A figure for each category whose maps every run has written; their names."""
    own = [p for p in planned if p.dataset == dataset and p.name in runs]
    if not all(one.config.write_maps for one in own):
        return []
    drawn = []
    # The one with the most pixels shows the images best.
    best = max(
        own, key=lambda p: (p.config.method.channels, p.config.method.image_size)
    )
    for name in best.config.data.names():
        method = best.config.method
        category = best.config.data.load(name, method.image_size, method.channels)
        rows = []
        for i in figures.choose(category.test_images, best.config.figure_images):
            image = category.test_images[i]
            maps = {
                runs[one.name].title: read_map(
                    map_path(
                        one.folder / name / MAPS / f"seed_{one.config.seeds[0]}",
                        name,
                        image,
                    )
                )
                for one in own
            }
            rows.append(figures.row(category, i, maps))
        drawn.append(f"{dataset}_{name}_maps.png")
        qualitative(folder / drawn[-1], rows)
    return drawn
