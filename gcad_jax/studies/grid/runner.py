"""The job of a study of runs: each an ordinary run in a folder of its own.

FOLDER/<data set>/<run>/ is what `gcad_jax.main` makes of that run alone, so that it can
be looked at, continued and compared like any other.
"""

import dataclasses
import time
from collections.abc import Sequence

from etils import epath

from gcad_jax.config import serialization
from gcad_jax.core import multihost
from gcad_jax.core.atomic_files import check_writable
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.program_folder import keep_in_workdir
from gcad_jax.core.paths import as_path
from gcad_jax.evaluation.result_files import read_result
from gcad_jax.evaluation.results import CategoryResult
from gcad_jax.reporting import html
from gcad_jax.runs import train_and_evaluate, workdir
from gcad_jax.runs.lock import InUse, lock_on_first, lock_workdir
from gcad_jax.runs.plan import Plan, print_plan
from gcad_jax.studies.grid.plan import (
    PlannedRun,
    estimate_runs,
    plan_runs,
    planned_run,
    print_runs,
)
from gcad_jax.studies.grid.report import has_report, output_names, write_study
from gcad_jax.studies.grid.results import FinishedRun, Runs, numbers_as_json
from gcad_jax.studies.grid.study import Study


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What became of the runs of a command, by their labels.

    results: of what is finished, by category. failures: why one failed.
    in_use: those that another process held.
    """

    results: dict[str, tuple[CategoryResult, ...]] = dataclasses.field(
        default_factory=dict
    )
    failures: dict[str, UserError] = dataclasses.field(default_factory=dict)
    in_use: set[str] = dataclasses.field(default_factory=set)


def run(study: Study, path: str) -> Runs:
    """Runs what is not finished in folder `path`, and writes what the study is for.

    A run that fails does not stop the others; what they found is written all the same,
    together with what other commands have finished with the same settings. Several
    commands may share the work: each takes the runs that no other holds.

    Raises:
      UserError: a mistake in config, data or folder; or at the end, that runs failed.
      Preempted: on SIGTERM, after saving.
    """
    folder, planned = _prepare(study, path)
    started = time.monotonic()
    if study.estimate:
        print_plan(dataclasses.replace(estimate_runs(planned), keeps_programs=False))
    outcomes = _run_all(planned, folder)
    with lock_on_first(folder, wait=True):  # another command may be writing it
        minutes = (time.monotonic() - started) / 60
        finished = multihost.run_on_first(
            lambda: _report(study, outcomes, planned, folder, minutes)
        )
    if outcomes.failures:
        sentences = " ".join(str(error) for error in outcomes.failures.values())
        raise UserError(
            f"{len(outcomes.failures)} of {len(planned)} runs failed, and the report "
            f"is without them. {sentences}",
            *(field for error in outcomes.failures.values() for field in error.fields),
        )
    return finished


def plan(study: Study, path: str) -> Plan:
    """What `run` would do; prints the runs, and of each how long it would take.

    Raises:
      UserError: a mistake in config, data or folder.
    """
    folder, planned = _prepare(study, path)
    estimate = estimate_runs(planned) if study.estimate else Plan()
    files = ", ".join(output_names(study.name).values())
    return dataclasses.replace(
        estimate,
        writes=(f"in {folder}: {files}; a workdir for each run in DATA_SET/RUN",),
    )


def _prepare(study: Study, path: str) -> tuple[epath.Path, list[PlannedRun]]:
    """The folder, and the runs that are asked for, which are printed."""
    folder = as_path(path).expanduser()
    files = tuple(output_names(study.name).values())
    multihost.check_equal(serialization.shared_settings(study), "the settings")
    multihost.run_on_first(lambda: check_writable(folder, files, "workdir"))
    planned = multihost.run_on_all(lambda: plan_runs(study, folder))
    keep_in_workdir(folder)
    print_runs(planned)
    return folder, planned


def _run_all(planned: Sequence[PlannedRun], folder: epath.Path) -> Outcomes:
    """Runs each; then retries the runs that another process held."""
    outcomes = Outcomes()
    for number, run in enumerate(planned, 1):
        print_line(f"\n#### {run.label} ({number} of {len(planned)})", result=True)
        _run_one(run, folder, outcomes)
    for run in [run for run in planned if run.label in outcomes.in_use]:
        outcomes.in_use.remove(run.label)
        print_line(f"\n#### {run.label} again", result=True)
        _run_one(run, folder, outcomes)
    return outcomes


def _run_one(run: PlannedRun, folder: epath.Path, outcomes: Outcomes) -> None:
    """Adds what becomes of a run to `outcomes`. folder: of the compiled programs."""
    try:
        with run.name_errors():
            results = train_and_evaluate.run(run.config, str(run.folder), folder)
    except InUse:
        print_line(f"elsewhere   another command is at {run.label}", result=True)
        outcomes.in_use.add(run.label)
    except UserError as error:
        if multihost.is_mine(error):
            raise
        print_line(f"failed      {error}", result=True)
        outcomes.failures[run.label] = error
    else:
        outcomes.results[run.label] = tuple(results)


def _report(
    study: Study,
    outcomes: Outcomes,
    planned: Sequence[PlannedRun],
    folder: epath.Path,
    minutes: float,
) -> Runs:
    """Writes the report where anything is new; returns what is finished."""
    finished, shown, missing = _collect(study, outcomes, planned, folder)
    if finished:
        # Where nothing is new, the report keeps its minutes.
        if not has_report(folder, study.name, numbers_as_json(finished), missing):
            write_study(folder, study, finished, shown, missing, minutes)
        report = folder / output_names(study.name)["md"]
        html.write_page(report)
        print_line(
            f"\nstudy       {report} and {html.page_path(report).name}", result=True
        )
    elif not outcomes.failures:
        print_line(
            "\nstudy       nothing is finished yet, so there is no report", result=True
        )
    return finished


def _collect(
    study: Study,
    outcomes: Outcomes,
    planned: Sequence[PlannedRun],
    folder: epath.Path,
) -> tuple[dict[str, dict[str, FinishedRun]], list[PlannedRun], dict[str, str]]:
    """What is finished, by this command or others, and why the rest is not, by label.

    In the order of the study: by data set and run, and the runs in a list.
    """
    finished: dict[str, dict[str, FinishedRun]] = {}
    shown, missing, failed = list[PlannedRun](), dict[str, str](), dict[str, str]()
    of_command = {run.label: run for run in planned}
    for dataset in study.groups():
        labels = study.labels(dataset)
        for name, config in study.all_experiments(dataset).items():
            run = planned_run(study, dataset, name, config, folder)
            if error := outcomes.failures.get(run.label):
                failed[run.label] = str(error).removeprefix(f"{run.label}: ")
                continue
            if results := outcomes.results.get(run.label, ()):
                run = of_command[run.label]
            else:
                # Looked up first: a process that ends in between leaves its results.
                missing[run.label] = (
                    _lock_state(run) if run.label in outcomes.in_use else "not run"
                )
                try:
                    run = run.resolve()
                    if run.folder.is_dir() and not run.unfinished():
                        settings = serialization.as_dict(run.config)
                        workdir.check_config(run.folder, settings)
                        names = run.config.data.names()
                        results = tuple(read_result(run.folder / n) for n in names)
                except UserError:
                    missing[run.label] = "run with other settings"
            if results:
                missing.pop(run.label, None)
                shown.append(run)
                run_results = FinishedRun(labels[name], results)
                finished.setdefault(dataset, {})[name] = run_results
    return finished, shown, missing | failed


def _lock_state(run: PlannedRun) -> str:
    """Of a run that another process held."""
    try:
        with lock_workdir(run.folder):
            return "not finished"
    except InUse:
        return "another command is at it"
