"""The job of a study of runs: each an ordinary run in a folder of its own.

FOLDER/<data set>/<run>/ is what `gcad_jax.main` makes of that run alone, so that it can
be looked at, continued and compared like any other.
"""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from etils import epath

from gcad_jax.config import experiment as configs
from gcad_jax.core import multihost
from gcad_jax.core.atomic_files import check_writable
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path
from gcad_jax.data.dataset import KINDS
from gcad_jax.evaluation.map_files import MAPS, map_path, read_map
from gcad_jax.evaluation.result_files import read_result
from gcad_jax.evaluation.spro import RATES
from gcad_jax.reporting import html, run_figures
from gcad_jax.reporting.plots import curves, map_grid, style
from gcad_jax.reporting.tables import short
from gcad_jax.runs import devices, train_and_evaluate, workdir
from gcad_jax.runs.plan import say_kept
from gcad_jax.studies.grid import report as study_report
from gcad_jax.studies.grid.plan import (
    Planned,
    attempt,
    plan,
    planned_run,
    say_estimate,
    say_plan,
)
from gcad_jax.studies.grid.results import Finished, Lines, Runs, as_json
from gcad_jax.studies.grid.study import Study


@dataclasses.dataclass
class Done:
    """What became of the runs of a command.

    finished: by data set and run. failures: why one failed, by its label.
    elsewhere: labels of those that another command was at.
    """

    finished: dict[str, dict[str, Finished]] = dataclasses.field(default_factory=dict)
    failures: dict[str, UserError] = dataclasses.field(default_factory=dict)
    elsewhere: set[str] = dataclasses.field(default_factory=set)


def run(study: Study, path: str) -> Runs:
    """Runs what is not finished in folder `path`, and writes what the study is for.

    A run that fails does not stop the others; what they found is written all the same,
    together with what other commands have finished with the same settings. Several
    commands may share the work: each takes the runs that no other is at.

    Raises:
      UserError: a mistake in config, data or folder; or at the end, that runs failed.
      Preempted: on SIGTERM, after saving.
    """
    folder = as_path(path).expanduser()
    files = study_report.outputs(study.name).values()
    multihost.check_equal(configs.settings(study), "the settings")
    multihost.run_on_first(lambda: check_writable(folder, tuple(files), "workdir"))
    planned = multihost.run_on_all(lambda: plan(study, folder))
    started = time.monotonic()
    devices.set_compilation_cache(folder)
    say_plan(planned)
    if study.estimate:
        say_estimate(planned)
    if study.plan:
        _say_outputs(study, folder)
        return {}
    done = _run_all(study, planned, folder)
    with workdir.alone(folder, wait=True):  # another command may be writing it
        minutes = (time.monotonic() - started) / 60
        finished = multihost.run_on_first(
            lambda: _report(study, done, planned, folder, minutes)
        )
    if done.failures:
        told = " ".join(str(error) for error in done.failures.values())
        raise UserError(
            f"{len(done.failures)} of {len(planned)} runs failed, and the report is "
            f"without them. {told}"
        )
    return finished


def _say_outputs(study: Study, folder: epath.Path) -> None:
    """Where a study will have written what."""
    own = ", ".join(study_report.outputs(study.name).values())
    print_line(
        f"writes      in {folder}: {own}; a workdir for each run in DATA_SET/RUN"
    )
    if study.estimate:
        say_kept()


def _report(
    study: Study,
    done: Done,
    planned: Sequence[Planned],
    folder: epath.Path,
    minutes: float,
) -> Runs:
    """Writes it where anything is new; returns what is finished."""
    finished, others, missing = _with_others(study, done, planned, folder)
    if finished:
        # Where nothing is new, the report keeps its minutes.
        if not study_report.holds(folder, study.name, as_json(finished), missing):
            own = [one for one in planned if one.label not in done.elsewhere]
            shown = [
                one
                for one in (*own, *others)
                if one.name in finished.get(one.dataset, {})
            ]
            _write(study, finished, missing, shown, folder, minutes)
        report = folder / study_report.outputs(study.name)["md"]
        html.update(report)
        print_line(
            f"\nstudy       {report} and {html.name_of(report).name}", result=True
        )
    elif not done.failures:
        told = "nothing is finished yet, so there is no report"
        print_line(f"\nstudy       {told}", result=True)
    return finished


def _run_all(study: Study, planned: Sequence[Planned], folder: epath.Path) -> Done:
    """Those that another command is at are tried again when the others are done."""
    done = Done()
    for number, one in enumerate(planned, 1):
        print_line(f"\n#### {one.label} ({number} of {len(planned)})", result=True)
        _run(study, one, folder, done)
    again = [one for one in planned if one.label in done.elsewhere]
    done.elsewhere.clear()
    for one in again:
        print_line(f"\n#### {one.label} again", result=True)
        _run(study, one, folder, done)
    return done


def _run(study: Study, one: Planned, folder: epath.Path, done: Done) -> None:
    call = functools.partial(
        train_and_evaluate.run, one.config, str(one.folder), folder
    )
    try:
        results = attempt(call, one)
    except workdir.InUse:
        print_line(f"elsewhere   another command is at {one.label}", result=True)
        done.elsewhere.add(one.label)
    except UserError as error:
        if multihost.is_mine(error):
            raise
        print_line(f"failed      {error}", result=True)
        done.failures[one.label] = error
    else:
        run = Finished(study.labels(one.dataset)[one.name], tuple(results))
        done.finished.setdefault(one.dataset, {})[one.name] = run


def _with_others(
    study: Study, done: Done, planned: Sequence[Planned], folder: epath.Path
) -> tuple[dict[str, dict[str, Finished]], list[Planned], dict[str, str]]:
    """What is finished here and by others, those others, and why the rest is not."""
    asked = {one.label for one in planned} - done.elsewhere
    finished: dict[str, dict[str, Finished]] = {}
    others, missing = list[Planned](), dict[str, str]()
    for dataset in study.groups():
        own = done.finished.get(dataset, {})
        ordered = {}
        for name, config in study.all_experiments(dataset).items():
            one = planned_run(study, dataset, name, config, folder)
            if one.label in asked:
                if name in own:
                    ordered[name] = own[name]
                continue
            missing[one.label] = "not run"
            if one.label in done.elsewhere:
                missing[one.label] = _state(one)
            try:
                one = dataclasses.replace(one, config=configs.resolve(config))
                if not one.folder.is_dir() or one.unfinished():
                    continue
                workdir.check_config(one.folder, configs.as_dict(one.config))
                results = [
                    read_result(one.folder / category)
                    for category in one.config.data.names()
                ]
            except UserError:
                missing[one.label] = "run with other settings"
                continue
            del missing[one.label]
            others.append(one)
            ordered[name] = Finished(study.labels(dataset)[name], tuple(results))
        if ordered:
            finished[dataset] = ordered
    missing |= {
        label: str(error).removeprefix(f"{label}: ")
        for label, error in done.failures.items()
    }
    return finished, others, missing


def _state(one: Planned) -> str:
    """Of a run that another command was at."""
    try:
        with workdir.locked(one.folder):
            pass
    except workdir.InUse:
        return "another command is at it"
    return "not finished"


def _write(
    study: Study,
    finished: Runs,
    missing: Mapping[str, str],
    shown: Sequence[Planned],
    folder: epath.Path,
    minutes: float,
) -> None:
    """The report, its numbers and its figures. shown: the runs that it has."""
    options = [devices.loop_options(one.config) for one in shown]
    most = max(options, key=lambda o: len(o.layout.devices))
    parts = [f"# {study.title}", devices.hardware_sentence(most, minutes)]
    parts += filter(None, [study_report.absent(missing), study.reading])
    panels = []
    for dataset, runs in finished.items():
        parts += study.sections(dataset, runs)
        parts += _data(runs)
        own = [one for one in shown if one.dataset == dataset]
        own.sort(key=lambda one: list(runs).index(one.name))
        parts += _settings([one for one in own if study.explains(one.name)])
        parts += _pages(own, folder)
        panels += study.panels(dataset, runs)
        drawn = _draw_curves(dataset, study.curves(runs), folder)
        try:
            drawn += _draw_maps(dataset, runs, own, folder)
        except UserError as error:  # a map was lost; the numbers are all there
            print_line(f"figure      {error}")
        parts += ["### Figures", *drawn] if drawn else []
    study_report.write(folder, study.name, as_json(finished), parts, panels)


def _data(runs: Mapping[str, Finished]) -> list[str]:
    """What was tested on, and what is to be known of it."""
    lines = []
    for result in next(iter(runs.values())).results:
        counts = ", ".join(f"{result.count(kind)} {short(kind)}" for kind in KINDS)
        notes = "".join(f"; {note}" for note in result.notes)
        lines.append(f"- {result.name}: test images {counts}{notes}.")
    return ["### Data", "\n".join(lines)]


def _settings(own: Sequence[Planned]) -> list[str]:
    """What each method says of itself."""
    lines = [f"- {one.name}: {' '.join(one.config.method.describe())}" for one in own]
    return ["### Settings", "\n".join(lines)]


def _pages(own: Sequence[Planned], folder: epath.Path) -> list[str]:
    """Where the runs are looked at one by one."""
    pages = {one.name: html.name_of(one.folder / workdir.REPORT) for one in own}
    links = [
        f"[{name}]({quote(str(path.relative_to(folder)))})"
        for name, path in pages.items()
        if path.exists()
    ]
    if not links:
        return []
    return [
        "The page of each run has its curves and its best and worst images: "
        f"{', '.join(links)}."
    ]


def _draw_curves(dataset: str, lines: Lines, folder: epath.Path) -> list[str]:
    """The curves of the runs, and the link of their figure."""
    if not lines:
        return []
    name = f"{dataset}_curves.png"
    style.save(curves.curves(RATES, lines), style.formats(folder / name))
    caption = (
        "sPRO over the false positive rate, means over categories and seeds; AU-sPRO "
        "is taken up to the limit"
    )
    return [
        f"![sPRO curves of {dataset}, one a run]({name})",
        f"*{dataset}: {caption}*",
    ]


def _draw_maps(
    dataset: str,
    runs: Mapping[str, Finished],
    own: Sequence[Planned],
    folder: epath.Path,
) -> list[str]:
    """A figure for each category whose maps every run has written; their links."""
    if not own or not all(one.config.write_maps for one in own):
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
        for i in run_figures.choose(category.test_images, best.config.figure_images):
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
            rows.append(run_figures.row(category, i, maps))
        if rows:
            file = f"{dataset}_{name}_maps.png"
            style.save(map_grid.qualitative(rows), style.formats(folder / file))
            drawn += [
                f"![Maps of {name}, one a run]({quote(file)})",
                f"*{name}: input, ground truth and the map of each run, of its first "
                f"seed; {run_figures.SCALE}*",
            ]
    return drawn
