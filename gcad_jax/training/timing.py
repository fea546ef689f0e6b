"""What the phases of a training cost on this machine, from a few updates of each."""

import dataclasses
import statistics
import time
from collections.abc import Sequence

import jax
import numpy as np

from gcad_jax.methods.base import Phase, Trainable, TrainState
from gcad_jax.training.feed import Feed
from gcad_jax.training.loop import LoopOptions
from gcad_jax.training.parallel import per_device, replicated
from gcad_jax.training.program import compile_step
from gcad_jax.training.start import first_states
from gcad_jax.training.step import Resources
from gcad_jax.training.summary import num_bytes
from gcad_jax.types import Tree


@dataclasses.dataclass(frozen=True)
class PhaseTiming:
    """The cost of one phase.

    name: of the phase. num_steps: of the phase in a whole training.
    batch_size: examples of one update of one seed. num_seeds: trained at once.
    flops: of one update of all seeds and devices, as `Program` has it, or None.
    scratch_bytes: working memory on each device, or None where the compiler is silent.
    held_bytes: states, data and frozen part on each device.
    compile_seconds: tracing and compiling the call.
    first_seconds: the first call, which loads the program too.
    step_seconds: wall time of one update of all seeds, warm: the median of the calls
        over the updates of a call. mean_step_seconds: their mean, for updates that
        differ (f-AnoGAN's generator moves with every fifth).
    """

    name: str
    num_steps: int
    batch_size: int
    num_seeds: int
    flops: float | None
    scratch_bytes: int | None
    held_bytes: int
    compile_seconds: float
    first_seconds: float
    step_seconds: float
    mean_step_seconds: float

    @property
    def images_per_second(self) -> float:
        """Training images of all seeds together."""
        return self.batch_size * self.num_seeds / self.step_seconds


def time_phases(
    task: Trainable,
    feed: Feed,
    frozen: Tree,
    seeds: Sequence[int],
    options: LoopOptions,
    calls: int = 5,
) -> tuple[PhaseTiming, ...]:
    """Each phase compiled as the loop does, one call to warm up and `calls` timed.

    frozen, seeds: as in `loop.fit`. The states are carried on from call to call.
    Nothing is written.

    Raises:
      UserError: a batch that does not fit the devices or the data.
    """
    states, resources = begun(task, feed, frozen, seeds, options)
    timings = []
    for phase in task.phases(feed.steps_per_epoch):
        timing, states = time_phase(
            phase, task.batch_size, feed, states, resources, options, calls
        )
        timings.append(timing)
    return tuple(timings)


def begun(
    task: Trainable,
    feed: Feed,
    frozen: Tree,
    seeds: Sequence[int],
    options: LoopOptions,
) -> tuple[TrainState, Resources]:
    """Fresh states of the seeds and what steps read, on all devices.

    Raises:
      UserError: a batch that the devices cannot share evenly.
    """
    per_device("batch_size", task.batch_size, len(options.devices))
    states = first_states(task, seeds)
    resources = feed.resources(frozen, options.devices)
    return replicated(states, options.devices), resources


def time_phase(
    phase: Phase,
    batch_size: int,
    feed: Feed,
    states: TrainState,
    resources: Resources,
    options: LoopOptions,
    calls: int = 5,
) -> tuple[PhaseTiming, TrainState]:
    """One phase from these states, which are donated; the states after it."""
    updates = min(options.step.steps_per_call, phase.num_steps)
    count = len(options.devices)
    held = num_bytes(states) + num_bytes(resources)
    num_seeds = int(np.shape(states.step)[0])
    started = time.perf_counter()
    program = compile_step(
        phase,
        feed.augmentation,
        options.step,
        options.devices,
        states,
        resources,
        feed.take(0, updates, count),
    )
    compiled = time.perf_counter() - started
    seconds = []
    for call in range(calls + 1):
        fed = feed.take(call * updates, updates, count)
        started = time.perf_counter()
        states, metrics = program.call(states, resources, fed)
        jax.block_until_ready((states, metrics))
        seconds.append(time.perf_counter() - started)
    first, *warm = seconds
    timing = PhaseTiming(
        name=phase.name,
        num_steps=phase.num_steps,
        batch_size=batch_size,
        num_seeds=num_seeds,
        flops=program.flops,
        scratch_bytes=program.scratch_bytes,
        held_bytes=held,
        compile_seconds=compiled,
        first_seconds=first,
        step_seconds=statistics.median(warm) / updates,
        mean_step_seconds=statistics.fmean(warm) / updates,
    )
    return timing, states
