"""Trains all seeds of one category; any kill in between can be resumed exactly."""

import contextlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core import multihost
from gcad_jax.core.axes import BATCH
from gcad_jax.core.console import progress_bar
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array, Tree
from gcad_jax.data.dataset import Category
from gcad_jax.methods.base import Learned, Method, Trainable, TrainState, read_phases
from gcad_jax.training.checkpoint import CHECKPOINTS, Checkpoints
from gcad_jax.training.compilation import Program, compile_step, compiling_line
from gcad_jax.training.cost import summary
from gcad_jax.training.cost.communication import crossing_line
from gcad_jax.training.frozen_cache import load_or_prepare
from gcad_jax.training.input_pipeline import InMemory, InputPipeline
from gcad_jax.training.logs import MetricsLog, MetricsReader
from gcad_jax.training.options import RunContext, TrainResult
from gcad_jax.training.parallel.arrays import to_numpy
from gcad_jax.training.preemption import Preempted, Preemption
from gcad_jax.training.state import first_states
from gcad_jax.training.step import Resources


def train(method: Method, category: Category, context: RunContext) -> TrainResult:
    """Trains a method on a category, or continues or merely restores it.

    Raises:
      UserError: batch or data that do not fit, a loss that is not finite.
      Preempted: after SIGTERM, when the state has been saved.
    """
    seeds, options = context.seeds, context.options
    for line in summary.data_lines(category):
        context.print_line(line)
    pipeline = InMemory(method, category, seeds, options.cache_features)
    if not read_phases(method, pipeline.steps_per_epoch):
        # Nothing is trained that would have to go on with the very same numbers.
        frozen = method.prepare(category.train)
    else:
        frozen = load_or_prepare(method.prepare, category.train, context)
    learned = fit(method, pipeline, frozen, context)
    return TrainResult(frozen, options.layout.local_seeds(len(seeds)), learned)


def fit(
    task: Trainable, pipeline: InputPipeline, frozen: Tree, context: RunContext
) -> tuple[Learned, ...]:
    """Trains the networks of each seed, or continues or restores what is in the folder.

    Returns those of the seeds that `Layout.local_seeds` names.

    frozen: what every step reads.

    Raises:
      UserError: a batch that does not fit, a loss that is not finite.
      Preempted: after SIGTERM, when the state has been saved.
    """
    trainer = Trainer(task, pipeline, context)
    layout, seeds = context.options.layout, context.seeds
    local = layout.local_seeds(len(seeds))
    states = first_states(task, [seeds[i] for i in local])
    checkpoints = Checkpoints(context.folder / CHECKPOINTS, context.config, layout)
    with contextlib.closing(checkpoints):
        learned = trainer.run(frozen, states, checkpoints)
    return tuple(jax.tree.map(lambda x, i=i: x[i], learned) for i in range(len(local)))


@jax.jit
def all_finite(tree: Tree) -> jax.Array:
    """Whether no number of the tree is NaN or infinite; () bool."""
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))


class Trainer:
    """The parts of a training that stay the same from its first step to its last."""

    def __init__(
        self, task: Trainable, pipeline: InputPipeline, context: RunContext
    ) -> None:
        self.task, self.pipeline = task, pipeline
        self.seeds, self.folder = context.seeds, context.folder
        self.options, self.print_line = context.options, context.print_line
        self.layout = context.options.layout
        sizes = task.batch_size, len(context.seeds)
        if error := self.layout.misfit("batch_size", *sizes):
            raise error
        self.phases = read_phases(task, pipeline.steps_per_epoch)
        self.total = sum(phase.num_steps for phase in self.phases)
        # By position of the phase and number of updates: names are labels.
        self.programs: dict[tuple[int, int], Program] = {}
        self.input_seconds = 0.0  # that the loop has waited for examples

    # -- before the first step --------------------------------------------------

    def program(
        self, position: int, states: TrainState, resources: Resources, calls: int
    ) -> Program:
        """The compiled step of one of `phases` for `calls` updates; compiled once."""
        key = (position, calls)
        if key not in self.programs:
            self.programs[key] = compile_step(
                self.phases[position],
                self.pipeline.augmentation,
                self.options.step,
                self.layout,
                states,
                resources,
                self.pipeline.take(0, calls, self.layout),
            )
        return self.programs[key]

    def run(
        self, frozen: Tree, states: TrainState, checkpoints: Checkpoints
    ) -> Learned:
        """From the newest checkpoint, or the start, to the last step.

        states: of the local seeds on the host. Returns their networks there.
        """
        done, restored = 0, checkpoints.restore(states, self.print_line)
        if restored:
            done, states = restored
            self.print_line(f"resume      from step {done:,} of {self.total:,}")
        if done >= self.total:
            return jax.tree.map(lambda x: np.array(to_numpy(x)), states.learned)
        resources = self.pipeline.resources(frozen, self.layout)
        states = self.layout.states_to_device(states)
        for line in self.describe_costs(states, resources):
            self.print_line(line)
        states = self.run_steps(done, states, resources, checkpoints)
        return self.layout.states_to_host(states.learned)

    def describe_costs(self, states: TrainState, resources: Resources) -> list[str]:
        """Compiles all phases; lines about what they cost."""
        calls = self.options.step.steps_per_call
        programs = []
        for position, phase in enumerate(self.phases):
            updates = min(calls, phase.num_steps)
            if (position, updates) not in self.programs:
                self.print_line(compiling_line(phase))
            programs.append(self.program(position, states, resources, updates))
        sizes = (self.task.batch_size, len(self.seeds), self.layout)
        lines = summary.model_lines(states, resources, len(self.seeds))
        lines += summary.cost_lines(programs, states, resources, *sizes)
        if self.layout.kind == BATCH and len(self.layout.devices) > 1:
            longest = max(self.phases, key=lambda phase: phase.num_steps)
            lines.append(
                crossing_line(longest, self.pipeline, self.layout, states, resources)
            )
        return lines

    # -- the loop ---------------------------------------------------------------

    def run_steps(
        self,
        done: int,
        states: TrainState,
        resources: Resources,
        checkpoints: Checkpoints,
    ) -> TrainState:
        """Updates from `done` to the last one, with logs and checkpoints.

        states: on the devices, donated.

        Raises:
          Preempted: after SIGTERM, when the state has been saved.
        """
        images = self.task.batch_size * len(self.seeds)
        log = MetricsLog(
            self.folder, done
        )  # first: nothing may end between bar and try
        bar = progress_bar(self.total * images, done * images, self.pipeline.name)
        reader = MetricsReader(
            log,
            bar,
            self.layout,
            self.seeds,
            batch_size=self.task.batch_size,
            log_every=self.options.log_every,
            steps_per_epoch=self.pipeline.steps_per_epoch,
            total_steps=self.total,
        )
        started = saved_at = time.monotonic()
        stop = False
        try:
            with Preemption() as signal:
                while done < self.total and not stop:
                    position, calls = self.next_call(done)
                    program = self.program(position, states, resources, calls)
                    examples = self.take(done, calls)
                    states, metrics = program.call(states, resources, examples)
                    reader.add(done, calls, self.phases[position].name, metrics)
                    done += calls
                    if self.options.must_wait:
                        jax.block_until_ready(metrics)
                    due, stop = self.should_save_and_stop(done, calls, saved_at, signal)
                    if due or stop or done == self.total:
                        reader.read_pending()  # a NaN must not reach a checkpoint
                        self.save(done, states, checkpoints, log)
                        saved_at = time.monotonic()
                checkpoints.wait()
                # A signal may have come while the last state was written.
                stop = any(multihost.all_gather(signal.requested))
        finally:
            bar.close()
            log.close()
        waited, total = self.input_seconds, time.monotonic() - started
        self.print_line(
            f"input       waited {waited:.1f} s of {total:.1f} s for examples"
        )
        if stop:
            raise Preempted(f"stopped and saved at step {done}")
        return states

    def next_call(self, done: int) -> tuple[int, int]:
        """Position of the phase of step `done`, and how many updates to dispatch."""
        for position, phase in enumerate(self.phases):
            if done < phase.num_steps:
                left = phase.num_steps - done  # a call never mixes two phases
                return position, min(self.options.step.steps_per_call, left)
            done -= phase.num_steps
        raise AssertionError("a step after the last phase")

    def take(self, step: int, calls: int) -> Array | np.ndarray:
        """The examples of the next call; how long they were waited for is counted."""
        started = time.monotonic()
        parts = self.pipeline.take(step, calls, self.layout)
        examples = self.layout.examples_to_device(parts)
        self.input_seconds += time.monotonic() - started
        return examples

    def should_save_and_stop(
        self, done: int, calls: int, saved_at: float, preemption: Preemption
    ) -> tuple[bool, bool]:
        """Whether it is time to save, and whether to stop, on every process alike."""
        due = time.monotonic() - saved_at > 60 * self.options.checkpoint_minutes
        stop = preemption.requested
        if multihost.num_processes() == 1:
            return due, stop
        # Agreeing waits for all processes: not after every update.
        every = self.options.log_every
        if done // every == (done - calls) // every and done < self.total:
            return False, False
        answers = multihost.all_gather((due, stop))
        # Clocks differ: the first process's decides. Any one may have got a signal.
        return answers[0][0], any(stop for _, stop in answers)

    def save(
        self, done: int, states: TrainState, checkpoints: Checkpoints, log: MetricsLog
    ) -> None:
        """Saves a state that is fit to continue from."""
        if not all_finite(states.learned):
            raise UserError(
                f"a parameter is not finite after step {done}: training stopped, the "
                "checkpoints before it are kept; try a lower "
                "method.learning_rate=VALUE.",
                "method.learning_rate",
            )
        log.flush()
        checkpoints.save(done, states)
