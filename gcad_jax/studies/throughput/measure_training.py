"""Rows of training: images a second of its longest phase, and what the loop adds."""

import contextlib
import dataclasses

import jax
import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import local_folder_for
from gcad_jax.methods.base import TrainState
from gcad_jax.studies.throughput.measure import ROUNDS, SharedState
from gcad_jax.studies.throughput.peaks import Peaks
from gcad_jax.studies.throughput.results import LoopResult, TrainingResult
from gcad_jax.studies.throughput.rows import Row
from gcad_jax.training.cost.communication import crossing_bytes
from gcad_jax.training.cost.timing import TimedTrainer
from gcad_jax.training.input_pipeline import InMemory
from gcad_jax.training.options import LoopOptions
from gcad_jax.training.parallel.choose_layout import LAYOUTS
from gcad_jax.training.step import Resources


def _start_training(
    shared: SharedState, row: Row
) -> tuple[TimedTrainer, TrainState, Resources]:
    """The trainer of a row, with states and data on its devices."""
    assert row.step is not None
    category = shared.category
    if len(category.train) < row.batch_size:
        category = dataclasses.replace(category, train=shared.images(row.batch_size))
    seeds = range(row.num_seeds)
    layout = LAYOUTS[row.layout](tuple(jax.local_devices()[: row.num_devices]))
    pipeline = InMemory(row.method, category, seeds)
    trainer = TimedTrainer(row.method, pipeline, seeds, LoopOptions(layout, row.step))
    networks = shared.networks(row.method)
    states = layout.states_to_device(networks.states(row.num_seeds))
    return trainer, states, pipeline.resources(networks.frozen, layout)


def measure_training(
    shared: SharedState, row: Row, peaks: Peaks, profile_folder: epath.Path | None
) -> TrainingResult:
    """The longest phase of a training; a trace of it goes into the folder."""
    trainer, states, resources = _start_training(shared, row)
    position = trainer.longest_phase
    # The device tells the peak of the process: it is of this row where it rises.
    peak_before = shared.peak_bytes() or 0
    timing, states = trainer.time_phase(
        position, states, resources, shared.config.calls, ROUNDS
    )
    peak = shared.peak_bytes() or 0
    if profile_folder:
        _profile_update(trainer, position, states, resources, profile_folder)
    networks, phase = shared.networks(row.method), trainer.phases[position]
    augmentation = trainer.pipeline.augmentation
    # The rows of the data set for one call, one seed and a whole batch.
    examples = jax.ShapeDtypeStruct((1, 1, row.batch_size), np.int32)
    flops = networks.training_flops(phase, augmentation)
    rate = timing.images_per_second / row.num_devices
    mfu, of_convolution = peaks.shares(rate, flops)
    return TrainingResult(
        **dataclasses.asdict(timing),
        flops_traced=flops,
        mfu=mfu,
        of_convolution=of_convolution,
        crossing_bytes=crossing_bytes(
            phase, augmentation, networks.states(), resources, examples
        ),
        memory_bytes=timing.held_bytes + (timing.scratch_bytes or 0),
        peak_bytes=peak if peak > peak_before else None,
    )


def measure_loop(shared: SharedState, row: Row) -> LoopResult:
    """The loop of a training against the calls that it makes."""
    trainer, states, resources = _start_training(shared, row)
    timing = trainer.time_loop(
        trainer.longest_phase, states, resources, shared.loop_updates, ROUNDS
    )
    return LoopResult(
        **dataclasses.asdict(timing),
        updates=shared.loop_updates,
        images_per_second=row.batch_size / timing.step_seconds,
    )


def _profile_update(
    trainer: TimedTrainer,
    position: int,
    states: TrainState,
    resources: Resources,
    folder: epath.Path,
) -> None:
    """Writes a trace of a call of one update, after a call to warm up."""
    program = trainer.program(position, states, resources, 1)
    examples = trainer.take(0, 1)
    with local_folder_for(folder) as place:
        # The first call loads the program, which is not to be in the trace.
        for context in (contextlib.nullcontext(), jax.profiler.trace(place)):
            with context:
                states, metrics = program.call(states, resources, examples)
                jax.block_until_ready((states, metrics))
