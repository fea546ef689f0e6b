"""What a training would cost on this machine, measured before it starts."""

import dataclasses
import math
import time
from collections.abc import Sequence

from gcad_jax.core import multihost
from gcad_jax.core.types import Tree
from gcad_jax.methods.base import Phase, Trainable
from gcad_jax.training.cost import summary
from gcad_jax.training.cost.timing import PhaseTiming, TimedTrainer
from gcad_jax.training.input_pipeline import InputPipeline
from gcad_jax.training.options import LoopOptions

# Of each phase, after one to warm up: f-AnoGAN's updates repeat after five.
TIMED_CALLS = 5
TIMED_SECONDS = 5.0  # of a phase, so that a plan of slow updates does not take minutes


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a training costs here.

    update_seconds: of one update of all seeds, by phase. compile_seconds: of all
        phases; less where a cache has the programs.
    device_bytes: memory of each device. parameters: trained ones, of one seed.
    state_bytes: of a checkpoint. learned_bytes: of the networks of all seeds.
    frozen_bytes: of the frozen part. lines: what a training prints before it runs.
    """

    update_seconds: dict[str, float]
    compile_seconds: float
    device_bytes: int
    parameters: int
    state_bytes: int
    learned_bytes: int
    frozen_bytes: int
    lines: tuple[str, ...]

    def seconds(self, phases: Sequence[Phase], done: int) -> float:
        """Of the updates that `phases` still need after `done`."""
        total = 0.0
        for phase in phases:
            total += max(0, phase.num_steps - done) * self.update_seconds[phase.name]
            done = max(0, done - phase.num_steps)
        return total


def measure_cost(
    task: Trainable,
    pipeline: InputPipeline,
    frozen: Tree,
    seeds: Sequence[int],
    options: LoopOptions,
    until: float = math.inf,
) -> Cost:
    """Compiles phases as the loop does, and times a few updates of each.

    until: as of `time.monotonic`, when no further phase is compiled. What those take
        is estimated: as much for an operation as the first phase took.

    Raises:
      UserError: a batch that does not fit the devices or the data.
    """
    trainer = TimedTrainer(task, pipeline, seeds, options)
    states, resources = trainer.start_empty(frozen)
    timings: list[PhaseTiming] = []
    estimated = dict[str, float]()
    for position, phase in enumerate(trainer.phases):
        # One answer for all hosts, which compile the same programs.
        late: bool = multihost.run_on_first(lambda: time.monotonic() > until)
        if timings and late:
            program = trainer.count_phase(position, states, resources)
            first = timings[0]
            ratio = program.flops / first.flops if program.flops and first.flops else 1
            estimated[phase.name] = ratio * first.step_seconds
            continue
        timing, states = trainer.time_phase(
            position, states, resources, TIMED_CALLS, limit=TIMED_SECONDS
        )
        timings.append(timing)
    learned = states.learned
    return Cost(
        update_seconds={t.name: t.step_seconds for t in timings} | estimated,
        compile_seconds=sum(t.compile_seconds for t in timings),
        device_bytes=max(t.held_bytes + (t.scratch_bytes or 0) for t in timings),
        parameters=summary.count_parameters(learned.params) // len(seeds),
        state_bytes=summary.num_bytes(states),
        learned_bytes=summary.num_bytes((learned.params, learned.model_state)),
        frozen_bytes=summary.num_bytes(frozen),
        lines=(
            *trainer.describe_costs(states, resources),
            *(
                f"            not compiled: the update of {name}; its time is "
                "estimated from counted operations, and memory is without it"
                for name in estimated
            ),
        ),
    )


def duration(seconds: float) -> str:
    """'0.4 s', '12 s', '3.4 min', '12 min' or '5.6 h'."""
    value, unit = seconds, "s"
    if seconds >= 99.5:
        value, unit = seconds / 60, "min"
    if value >= 99.5:
        value, unit = value / 60, "h"
    return f"{value:,.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"


def megabytes(count: float) -> str:
    """'12 MB' or '3.4 GB', never 0."""
    if count >= 1e9:
        return f"{count / 1e9:,.1f} GB"
    return f"{max(1, count / 1e6):,.0f} MB"
