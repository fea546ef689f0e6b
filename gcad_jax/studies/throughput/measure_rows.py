"""One row of the study of the throughput, measured: a function for each kind."""

import contextlib
import dataclasses
import functools
import statistics
import time

import jax
import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import local_folder_for
from gcad_jax.core.types import COMBINED
from gcad_jax.data.input.device import to_float
from gcad_jax.methods.base import TrainState
from gcad_jax.methods.common.apply import all_maps
from gcad_jax.studies.throughput.measure import ROUNDS, SharedState
from gcad_jax.studies.throughput.peaks import Peaks
from gcad_jax.studies.throughput.results import (
    InferenceResult,
    LatencyResult,
    TrainingResult,
)
from gcad_jax.studies.throughput.rows import Row
from gcad_jax.training.cost.communication import crossing_bytes
from gcad_jax.training.cost.timing import LoopTiming, TimedTrainer, time_calls
from gcad_jax.training.input_pipeline import InMemory
from gcad_jax.training.options import LoopOptions
from gcad_jax.training.parallel.choose import LAYOUTS
from gcad_jax.training.step import Resources

WARM_UP = 3  # calls before those that are timed


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
        # A call of one update.
        program = trainer.program(position, states, resources, 1)
        examples = trainer.take(0, 1)
        with local_folder_for(profile_folder) as place:
            # The first call loads the program, which is not to be in the trace.
            for context in (contextlib.nullcontext(), jax.profiler.trace(place)):
                with context:
                    states, metrics = program.call(states, resources, examples)
                    jax.block_until_ready((states, metrics))
    networks, phase = shared.networks(row.method), trainer.phases[position]
    augmentation = trainer.pipeline.augmentation
    # The rows of the data set for one call, one seed and a whole batch.
    examples = jax.ShapeDtypeStruct((1, 1, row.batch_size), np.int32)
    flops = networks.training_flops(phase, augmentation)
    rate = timing.images_per_second / row.num_devices
    return TrainingResult(
        **dataclasses.asdict(timing),
        **peaks.shares(rate, flops),
        crossing_bytes=crossing_bytes(
            phase, augmentation, networks.states(), resources, examples
        ),
        memory_bytes=timing.held_bytes + (timing.scratch_bytes or 0),
        peak_bytes=peak if peak > peak_before else None,
    )


def measure_loop(shared: SharedState, row: Row) -> LoopTiming:
    """The loop of a training against the calls that it makes."""
    trainer, states, resources = _start_training(shared, row)
    return trainer.time_loop(
        trainer.longest_phase, states, resources, shared.loop_updates, ROUNDS
    )


def measure_inference(shared: SharedState, row: Row, peaks: Peaks) -> InferenceResult:
    """Every map of images that lie on the device."""
    networks = shared.networks(row.method)
    detector = jax.device_put(networks.detector)
    seeds = ((detector.learned, detector.calibration),)
    images = to_float(jax.device_put(shared.images(row.batch_size)))
    started = time.perf_counter()
    maps = jax.jit(all_maps(row.method))
    compiled = maps.lower(detector.frozen, seeds, images).compile()
    compile_seconds = time.perf_counter() - started
    call = functools.partial(compiled, detector.frozen, seeds, images)
    for _ in range(WARM_UP):
        time_calls(call, 1)
    rate = row.batch_size / time_calls(call, shared.config.calls, ROUNDS)
    return InferenceResult(
        **peaks.shares(rate, networks.inference_flops),
        images_per_second=rate,
        compile_seconds=compile_seconds,
        memory_bytes=getattr(compiled.memory_analysis(), "temp_size_in_bytes", None),
    )


def measure_latency(shared: SharedState, row: Row) -> LatencyResult:
    """From uint8 on the host to the combined map on the host."""
    detector = jax.device_put(shared.networks(row.method).detector)
    seeds = ((detector.learned, detector.calibration),)
    maps = jax.jit(all_maps(row.method))
    images = shared.images(row.batch_size)

    def time_pass() -> float:
        started = time.perf_counter()
        on_device = to_float(jax.device_put(images))
        np.asarray(maps(detector.frozen, seeds, on_device)[0][COMBINED])
        return time.perf_counter() - started

    for _ in range(shared.passes):  # to warm up
        time_pass()
    seconds = sorted(time_pass() for _ in range(shared.passes))
    mean = statistics.fmean(seconds)
    return LatencyResult(
        passes=shared.passes,
        mean_seconds=mean,
        median_seconds=statistics.median(seconds),
        p95_seconds=seconds[int(0.95 * (len(seconds) - 1))],
        images_per_second=row.batch_size / mean,
    )
