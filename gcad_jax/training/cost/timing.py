"""What the phases of a training cost on this machine, from a few updates of each."""

import contextlib
import copy
import dataclasses
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from etils import epath

from gcad_jax.core.console import print_line
from gcad_jax.core.types import Tree
from gcad_jax.methods.base import Trainable, TrainState
from gcad_jax.training.compilation import Program, compiling_line, lower_step
from gcad_jax.training.cost.summary import num_bytes
from gcad_jax.training.input_pipeline import InputPipeline
from gcad_jax.training.loop import Trainer
from gcad_jax.training.options import LoopOptions, RunContext
from gcad_jax.training.state import first_states, placeholder_states
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


@dataclasses.dataclass(frozen=True)
class LoopTiming:
    """What the loop of a training adds to the calls that it makes.

    step_seconds: wall time of an update in the loop, which draws rows, logs and shows
        its progress; saves are left out. call_seconds: of the same calls alone, with
        rows drawn before. Of the round, a pair of both, with the median ratio.
    updates: of a round. images_per_second: in the loop, of all seeds together.
    """

    step_seconds: float
    call_seconds: float
    updates: int
    images_per_second: float

    @property
    def overhead(self) -> float:
        """What the loop adds, as a part of the calls alone."""
        return self.step_seconds / self.call_seconds - 1


def time_calls(call: Callable[[], Any], calls: int, rounds: int = 1) -> float:
    """Seconds of a call where calls follow each other; of several rounds the median.

    Only the last call of a round is waited for: the device is then never idle.
    """
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(calls):
            last = call()
        jax.block_until_ready(last)
        seconds.append((time.perf_counter() - started) / calls)
    return statistics.median(seconds)


class TimedTrainer(Trainer):
    """A trainer that times a few updates: nothing is saved, and no folder is kept."""

    def __init__(
        self,
        task: Trainable,
        pipeline: InputPipeline,
        seeds: Sequence[int],
        options: LoopOptions,
    ) -> None:
        """Raises UserError for a batch or seeds that devices cannot share evenly."""
        context = RunContext(seeds, epath.Path(), options, {}, lambda line: None)
        super().__init__(task, pipeline, context)

    @property
    def longest_phase(self) -> int:
        """Position of the phase that most of the training takes."""
        lengths = [phase.num_steps for phase in self.phases]
        return lengths.index(max(lengths))

    def start(self, frozen: Tree) -> tuple[TrainState, Resources]:
        """Fresh states of the seeds and what steps read, on the devices."""
        local = self.layout.local_seeds(len(self.seeds))
        states = first_states(self.task, [self.seeds[i] for i in local])
        resources = self.pipeline.resources(frozen, self.layout)
        return self.layout.states_to_device(states), resources

    def start_empty(self, frozen: Tree) -> tuple[TrainState, Resources]:
        """As `start`, with zeros for networks: what time and memory depend on."""
        states = placeholder_states(
            self.task, len(self.layout.local_seeds(len(self.seeds)))
        )
        resources = self.pipeline.resources(frozen, self.layout)
        return self.layout.states_to_device(states), resources

    def count_phase(
        self, position: int, states: TrainState, resources: Resources
    ) -> Program:
        """The step of a phase, traced and not compiled, for its operations."""
        phase = self.phases[position]
        updates = min(self.options.step.steps_per_call, phase.num_steps)
        program = lower_step(
            phase,
            self.pipeline.augmentation,
            self.options.step,
            self.layout,
            states,
            resources,
            self.pipeline.take(0, updates, self.layout),
        )
        self.programs[position, updates] = program
        return program

    def time_phase(
        self,
        position: int,
        states: TrainState,
        resources: Resources,
        calls: int = 5,
        rounds: int = 1,
        limit: float = float("inf"),
    ) -> tuple[PhaseTiming, TrainState]:
        """One phase, compiled as the loop does; the states after it.

        position: among the phases. states: donated. calls: of a round, after one that
            is timed apart. limit: seconds after which no further call is begun; of a
            call that is longer there is one, the first.
        """
        phase = self.phases[position]
        updates = min(self.options.step.steps_per_call, phase.num_steps)
        held = num_bytes(states) // self.layout.num_seed_shards + num_bytes(resources)
        print_line(compiling_line(phase))
        started = time.perf_counter()
        program = self.program(position, states, resources, updates)
        compile_seconds = time.perf_counter() - started
        seconds, steps = list[float](), itertools.count(step=updates)
        for length in (1, *[calls] * rounds):
            if seconds and length * seconds[0] > limit:
                length = int(limit / seconds[0])
            if not length:
                break
            started = time.perf_counter()
            taken = ((updates, self.take(next(steps), updates)) for _ in range(length))
            states = self.run_calls(position, states, resources, taken)
            seconds.append((time.perf_counter() - started) / length)
        first, *warm = seconds
        warm = warm or [first]
        timing = PhaseTiming(
            name=phase.name,
            num_steps=phase.num_steps,
            batch_size=self.task.batch_size,
            num_seeds=len(self.seeds),
            flops=program.flops,
            scratch_bytes=program.scratch_bytes,
            held_bytes=held,
            compile_seconds=compile_seconds,
            first_seconds=first,
            step_seconds=statistics.median(warm) / updates,
        )
        return timing, states

    def time_loop(
        self,
        position: int,
        states: TrainState,
        resources: Resources,
        updates: int,
        rounds: int,
    ) -> LoopTiming:
        """The loop of a training against its bare calls, `updates` of a phase a round.

        states: on the devices, donated.
        """
        # Programs are looked up by position: those of this trainer are of other phases.
        short = copy.copy(self)
        short.phases = (dataclasses.replace(self.phases[position], num_steps=updates),)
        short.total, short.programs = updates, {}
        calls = []
        for step in range(0, updates, self.options.step.steps_per_call):
            _, count = short.next_call(step)
            calls.append((count, short.take(step, count)))

        pairs = []  # seconds of an update in the loop and in the bare calls
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stderr(io.StringIO()),  # where the bar is drawn
        ):
            short.folder = epath.Path(folder)  # of the log
            for _ in range(rounds + 1):
                # In turn, so that a machine that slows down slows both.
                started = time.perf_counter()
                states = short.run_calls(0, states, resources, calls)
                between = time.perf_counter()
                states = short.run_steps(0, states, resources, short)  # type: ignore[arg-type]
                jax.block_until_ready(states)
                in_loop = time.perf_counter() - between
                pairs.append((in_loop / updates, (between - started) / updates))
        warm = sorted(pairs[1:], key=lambda pair: pair[0] / pair[1])  # [0] compiles
        step_seconds, call_seconds = warm[len(warm) // 2]
        images = self.task.batch_size * len(self.seeds)
        return LoopTiming(step_seconds, call_seconds, updates, images / step_seconds)

    def run_calls(
        self,
        position: int,
        states: TrainState,
        resources: Resources,
        calls: Iterable[tuple[int, Any]],
    ) -> TrainState:
        """Bare calls of a phase, as in a training: only the last one is waited for.

        calls: number of updates and examples of each.
        """
        for updates, examples in calls:
            program = self.program(position, states, resources, updates)
            states, metrics = program.call(states, resources, examples)
            if self.options.must_wait:
                jax.block_until_ready(metrics)
        return jax.block_until_ready(states)

    def save(self, *_: Any) -> None:
        """Nothing: a save is as long as the state is large, and as often as asked."""

    def wait(self) -> None:
        """Nothing; in the place of that of checkpoints."""
