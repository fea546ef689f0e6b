"""The pretraining job: E_loc for each p, its weight files, and a report."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from gcad_jax.config import Pretraining, serialization, validation
from gcad_jax.core import errors
from gcad_jax.core.atomic_files import write_text
from gcad_jax.core.console import print_line
from gcad_jax.core.machine.program_folder import keep_in_workdir
from gcad_jax.core.paths import make_folder
from gcad_jax.models.classifiers.classifier import load_classifier
from gcad_jax.models.io.npz import read_weights
from gcad_jax.models.patch_layers import PATCH_SIZES
from gcad_jax.pretraining.train import (
    RETRIEVALS,
    DistillationJob,
    TargetNetwork,
    distill,
    prepare_task,
    weights_name,
)
from gcad_jax.reporting import html, run_figures
from gcad_jax.reporting.tables import markdown_table
from gcad_jax.runs import workdir
from gcad_jax.runs.devices import hardware_sentence, loop_options
from gcad_jax.runs.plan import Plan
from gcad_jax.runs.workdir import REPORT
from gcad_jax.training.checkpoint import CHECKPOINTS, newest_step
from gcad_jax.training.cost.estimate import duration, measure_cost
from gcad_jax.training.logs import ROWS, read_rows
from gcad_jax.training.options import LoopOptions, RunContext


def run(config: Pretraining, path: str) -> list[dict[str, Any]]:
    """Trains E_loc of every p in folder `path`: E_loc_<p>.npz and report.md.

    The same command again continues what was interrupted.

    Raises:
      UserError: a mistake in config, images, target or folder.
      Preempted: on SIGTERM, after saving.
    """
    inputs = _read_inputs(config)
    started = time.monotonic()
    results = []
    with workdir.open_workdir(path, inputs.made_of) as folder:
        keep_in_workdir(folder)
        for p, job in inputs.jobs.items():
            print_line(f"\n== E_loc, p = {p}")
            training = folder / f"E_loc_{p}"
            make_folder(training)
            context = RunContext(
                config.seeds, training, inputs.options, inputs.made_of, print_line
            )
            results.append(distill(job, folder / weights_name(p), context))
            run_figures.render_losses(training, read_rows(training / ROWS))
        minutes = (time.monotonic() - started) / 60
        _write_report(folder, results, hardware_sentence(inputs.options, minutes))
        print_line(f"\nreport      {folder / REPORT}", result=True)
    return results


def plan(config: Pretraining, path: str) -> Plan:
    """What `run` would do and cost; prints each p.

    Nothing is written but compiled programs.

    Raises:
      UserError: as `run`.
    """
    inputs = _read_inputs(config)
    folder = workdir.check_workdir(path, inputs.made_of)
    keep_in_workdir(folder)
    seconds = 0.0
    for p, job in inputs.jobs.items():
        print_line(f"\n== E_loc, p = {p}")
        task, patches, frozen = prepare_task(job, config.seeds[0], print_line)
        phases = task.phases(patches.steps_per_epoch)
        total = sum(phase.num_steps for phase in phases)
        done = newest_step(folder / f"E_loc_{p}" / CHECKPOINTS)
        print_line(f"state       {done:,} of {total:,} updates are done")
        if done < total:
            cost = measure_cost(task, patches, frozen, config.seeds, inputs.options)
            for line in cost.lines:
                print_line(line)
            seconds += cost.seconds(phases, done)
    estimate = (
        f"about {duration(seconds)} of training here; measuring on the images that "
        "were held out comes on top"
    )
    files = ", ".join(map(weights_name, config.P))
    writes = f"in {folder}: {files}, {REPORT}, checkpoints and logs"
    return Plan(seconds, (estimate,), (writes,), keeps_programs=True)


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What is learned, by p. made_of: the config and digests of what it names."""

    options: LoopOptions
    jobs: Mapping[int, DistillationJob]
    made_of: dict[str, Any]


def _read_inputs(config: Pretraining) -> _Inputs:
    """Checks all that a pretraining needs, and reads it."""
    check(config)
    network, params = load_classifier(config.target)
    settings = {p: dataclasses.replace(config.method, p=p) for p in config.P}
    targets = {p: TargetNetwork.of(network, params, settings[p]) for p in config.P}
    options = loop_options(config)
    method, num_devices = config.method, len(options.layout.devices)
    if num_devices > 1 and (
        method.lambda_m or (method.lambda_c and method.correlation == "samples_sq")
    ):
        raise errors.UserError(
            f"config.num_devices is {config.num_devices}, which takes {num_devices} "
            "devices, but L_m and the correlation 'samples_sq' compare patches of one "
            "device: set num_devices=1.",
            "num_devices",
        )
    images = config.data.load(print_line)
    # The same paths may hold other photos or another network by the next call.
    made_of = serialization.as_dict(config) | {
        "photos": {"sha256": images.digest()},
        "learned_from": {"sha256": read_weights(config.target)[0].get("sha256")},
    }
    jobs = {
        p: DistillationJob(
            settings[p],
            config.data,
            images,
            targets[p],
            config.threads,
            config.processes,
            config.stored_as,
        )
        for p in config.P
    }
    return _Inputs(options, jobs, made_of)


def check(config: Pretraining) -> None:
    """Raises UserError for a field outside its range."""
    validation.check_training(config)
    if len(config.seeds) != 1:
        raise errors.UserError(
            f"config.seeds is {config.seeds}; pretraining takes one seed, as in "
            'seeds="(0,)".',
            "seeds",
        )
    if not config.P or len(set(config.P)) < len(config.P):
        raise errors.UserError(
            f"config.P is {config.P}; it must name distinct sizes, of {PATCH_SIZES}."
        )
    for p in config.P:
        dataclasses.replace(config.method, p=p).validate()
    if not config.target:
        raise errors.UserError(
            "config.target is empty; give the weight file of the network to learn "
            "from, target=FILE.npz, as python -m gcad_jax.convert writes it.",
            "target",
        )


def _write_report(
    folder: epath.Path, results: Sequence[dict[str, Any]], hardware: str
) -> None:
    """report.md and the page of it: what was learned from what, and how well."""
    first = results[0]
    unreadable = "those that processes could not read were named, not counted"
    if first["unreadable_images"] is not None:
        unreadable = f"{first['unreadable_images']:,} of all could not be read"
    parts = [
        "# E_loc, pretrained",
        f"Learned from {first['target']} on {first['images']:,} images; "
        f"{first['held_out_images']:,} were held out, {unreadable}.",
        "L_k is the squared distance between decoded descriptors and the features of "
        "that network, summed over features: of patches of the held-out images. R^2 is "
        "the part of their variance that is explained (an untrained network has an "
        "untrained decoder too, so L_k untrained says little). Minutes are those of "
        "the longest command, without what it continued.",
        _losses_table(results),
        "Nearest neighbors among patches of the held-out images:",
        _neighbors_table(results),
        f"Any run takes them with `method.teacher` set to "
        f"`{folder / 'E_loc_{p}.npz'}`, the same d_loc and slope, and "
        "`method.E_loc_width` equal to the width here.",
        *(
            f"![Losses, p = {r['p']}](E_loc_{r['p']}/{run_figures.LOSSES})\n\n"
            f"*Losses in training, p = {r['p']}*"
            for r in results
        ),
        hardware,
    ]
    write_text(folder / REPORT, "\n\n".join(parts) + "\n")
    html.write_page(folder / REPORT)


def _losses_table(results: Sequence[dict[str, Any]]) -> str:
    columns = {
        "p": ("p", "d"),
        "updates": ("steps", ",d"),
        "L_k untrained": ("L_k_held_out_untrained", ".4g"),
        "of the best constant": ("L_k_held_out_constant", ".4g"),
        "L_k": ("L_k_held_out", ".4g"),
        "R^2": ("R2_held_out", ".3f"),
        "minutes": ("minutes", ".1f"),
    }
    rows = [[f"{r[key]:{form}}" for key, form in columns.values()] for r in results]
    return markdown_table(list(columns), rows, 0)


def _neighbors_table(results: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            says,
            str(r["p"]),
            *(f"{r[of][name]:.1%}" for of in ("found_untrained", "found")),
        ]
        for r in results
        for name, (_, says) in RETRIEVALS.items()
    ]
    return markdown_table(["found", "p", "untrained", "trained"], rows, 1)
