"""What the phases of a training cost on this machine, from a few updates of each."""

import contextlib
import dataclasses
import io
import itertools
import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from gcad_jax.core.types import Tree
from gcad_jax.methods.base import Phase, Trainable, TrainState, read_phases
from gcad_jax.training.compilation import compile_step
from gcad_jax.training.cost.summary import num_bytes
from gcad_jax.training.input_pipeline import InputPipeline
from gcad_jax.training.loop import Trainer
from gcad_jax.training.options import LoopOptions
from gcad_jax.training.state import first_states
from gcad_jax.training.step import Resources


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
    step_seconds: wall time of one update of all seeds, warm, where calls follow each
        other as in the training: only the last of a round is waited for. The mean of a
        round, for updates may differ (f-AnoGAN's generator moves with every fifth); of
        several rounds the median.
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

    @property
    def images_per_second(self) -> float:
        """Training images of all seeds together."""
        return self.batch_size * self.num_seeds / self.step_seconds


def time_phases(
    task: Trainable,
    feed: InputPipeline,
    frozen: Tree,
    seeds: Sequence[int],
    options: LoopOptions,
    calls: int = 5,
) -> tuple[PhaseTiming, ...]:
    """Each phase compiled as the loop does, one call to warm up, a round of `calls`.

    frozen, seeds: as in `loop.fit`. The states are carried on from call to call.
    Nothing is written.

    Raises:
      UserError: a batch that does not fit the devices or the data.
    """
    states, resources = begun(task, feed, frozen, seeds, options)
    timings = []
    for phase in read_phases(task, feed.steps_per_epoch):
        timing, states = time_phase(
            phase, task.batch_size, feed, states, resources, options, calls
        )
        timings.append(timing)
    return tuple(timings)


@dataclasses.dataclass(frozen=True)
class LoopTiming:
    """What the loop of a training adds to the calls that it makes.

    step_seconds: wall time of an update in the loop, which draws rows, logs and shows
        its progress; saves are left out. call_seconds: of the same calls alone, with
        rows drawn before. Of the round, a pair of both, with the median ratio.
    """

    step_seconds: float
    call_seconds: float

    @property
    def overhead(self) -> float:
        """What the loop adds, as a part of the calls alone."""
        return self.step_seconds / self.call_seconds - 1


class _Unsaved(Trainer):
    """A training that does not save: that costs as much as one does it often."""

    def save(self, *_: Any) -> None:
        pass

    def wait(self) -> None:
        """In the place of checkpoints."""


def time_loop(
    task: Trainable,
    phase: Phase,
    feed: InputPipeline,
    states: TrainState,
    resources: Resources,
    seeds: Sequence[int],
    options: LoopOptions,
    folder: epath.Path,
    updates: int,
    rounds: int,
) -> LoopTiming:
    """The loop of `loop.fit` against its bare calls, `updates` of one phase a round.

    states: on the devices, donated. folder: for the log, emptied by the caller.
    """
    training = _Unsaved(task, feed, seeds, folder, options, lambda line: None)
    training.phases = (dataclasses.replace(phase, num_steps=updates),)
    training.total = updates
    layout, calls = options.layout, options.step.steps_per_call

    counts = [training.next_call(done)[1] for done in range(0, updates, calls)]
    drawn = [
        layout.examples_to_device(feed.take(calls * i, count, layout))
        for i, count in enumerate(counts)
    ]

    def bare(states: TrainState) -> TrainState:
        for count, fed in zip(counts, drawn, strict=True):
            program = training.program(0, states, resources, count)
            states, metrics = program.call(states, resources, fed)
            if options.must_wait:
                jax.block_until_ready(metrics)
        return states

    def looped(states: TrainState) -> TrainState:
        return training.run_steps(0, states, resources, training)  # type: ignore[arg-type]

    seconds: dict[Any, list[float]] = {bare: [], looped: []}
    with contextlib.redirect_stderr(io.StringIO()):  # where the bar is drawn
        for _ in range(rounds + 1):
            for way, spent in seconds.items():
                started = time.perf_counter()
                states = jax.block_until_ready(way(states))
                spent.append((time.perf_counter() - started) / updates)
    _, *pairs = zip(seconds[looped], seconds[bare], strict=True)  # the first compiles
    pairs.sort(key=lambda pair: pair[0] / pair[1])
    return LoopTiming(*pairs[len(pairs) // 2])


def begun(
    task: Trainable,
    feed: InputPipeline,
    frozen: Tree,
    seeds: Sequence[int],
    options: LoopOptions,
) -> tuple[TrainState, Resources]:
    """Fresh states of the seeds and what steps read, on the devices.

    Raises:
      UserError: a batch or seeds that the devices cannot share evenly.
    """
    layout = options.layout
    layout.check("batch_size", task.batch_size, len(seeds))
    states = first_states(task, [seeds[i] for i in layout.local_seeds(len(seeds))])
    return layout.states_to_device(states), feed.resources(frozen, layout)


def time_phase(
    phase: Phase,
    batch_size: int,
    feed: InputPipeline,
    states: TrainState,
    resources: Resources,
    options: LoopOptions,
    calls: int = 5,
    rounds: int = 1,
) -> tuple[PhaseTiming, TrainState]:
    """One phase from these states, which are donated; the states after it.

    calls: of a round, after one that is timed apart.
    """
    updates = min(options.step.steps_per_call, phase.num_steps)
    layout = options.layout
    held = num_bytes(states) // layout.num_seed_shards + num_bytes(resources)
    num_seeds = math.prod(states.step.shape)  # (devices, seeds of each) for SEED
    started = time.perf_counter()
    program = compile_step(
        phase,
        feed.augmentation,
        options.step,
        layout,
        states,
        resources,
        feed.take(0, updates, layout),
    )
    compiled = time.perf_counter() - started
    seconds, number = [], itertools.count()
    for length in (1, *[calls] * rounds):
        started = time.perf_counter()
        for _ in range(length):
            fed = layout.examples_to_device(
                feed.take(next(number) * updates, updates, layout)
            )
            states, metrics = program.call(states, resources, fed)
            if options.must_wait:
                jax.block_until_ready(metrics)
        jax.block_until_ready((states, metrics))
        seconds.append((time.perf_counter() - started) / length)
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
    )
    return timing, states
