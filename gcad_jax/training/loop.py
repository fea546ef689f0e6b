"""Trains all seeds of one category; any kill in between can be resumed exactly."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from gcad_jax.core import multihost
from gcad_jax.core.axes import BATCH
from gcad_jax.core.console import progress_bar
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array, Tree
from gcad_jax.data.dataset import Category
from gcad_jax.methods.base import Learned, Method, Trainable, TrainState, read_phases
from gcad_jax.training.checkpoint import CHECKPOINTS, Checkpoints
from gcad_jax.training.compilation import Program, compile_step
from gcad_jax.training.cost import summary
from gcad_jax.training.cost.communication import crossing_bytes
from gcad_jax.training.frozen_cache import kept
from gcad_jax.training.input_pipeline import InMemory, InputPipeline
from gcad_jax.training.logs import MetricsLog, check_finite
from gcad_jax.training.options import LoopOptions, TrainResult
from gcad_jax.training.preemption import Preempted, Preemption
from gcad_jax.training.state import first_states
from gcad_jax.training.step import Resources


def train(
    method: Method,
    category: Category,
    seeds: Sequence[int],
    folder: epath.Path,
    options: LoopOptions,
    config: dict[str, Any],
    say: Callable[[str], None],
) -> TrainResult:
    """Trains a method on a category, or continues or merely restores it.

    seeds, folder, config, say: as in `fit`.

    Raises:
      UserError: batch or data that do not fit, a loss that is not finite.
      Preempted: after SIGTERM, when the state has been saved.
    """
    for line in summary.data_lines(category):
        say(line)
    feed = InMemory(method, category, seeds, options.cache_features)
    if not read_phases(method, feed.steps_per_epoch):
        # Nothing is trained that would have to go on with the very same numbers.
        frozen = method.prepare(category.train)
    else:
        frozen = kept(folder, method.prepare, category.train, config, say)
    learned = fit(method, feed, frozen, seeds, folder, options, config, say)
    return TrainResult(frozen, options.layout.local_seeds(len(seeds)), learned)


def fit(
    task: Trainable,
    feed: InputPipeline,
    frozen: Tree,
    seeds: Sequence[int],
    folder: epath.Path,
    options: LoopOptions,
    config: dict[str, Any],
    say: Callable[[str], None],
) -> tuple[Learned, ...]:
    """Trains the networks of each seed, or continues or restores what `folder` holds.

    Returns those of the seeds that `Layout.local_seeds` names.

    frozen: what every step reads. seeds: one model each, in one program. config:
    stored in the checkpoints. say: called with each line of the summary.

    Raises:
      UserError: a batch that does not fit, a loss that is not finite.
      Preempted: after SIGTERM, when the state has been saved.
    """
    training = Trainer(task, feed, seeds, folder, options, say)
    own = options.layout.local_seeds(len(seeds))
    states = first_states(task, [seeds[place] for place in own])
    checkpoints = Checkpoints(folder / CHECKPOINTS, config, options.layout)
    try:
        learned = training.run(frozen, states, checkpoints)
    finally:
        checkpoints.close()
    return tuple(jax.tree.map(lambda x, i=i: x[i], learned) for i in range(len(own)))


@jax.jit
def all_finite(tree: Tree) -> jax.Array:
    """Whether no number of the tree is NaN or infinite; () bool."""
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))


class Trainer:
    """The parts of a run that stay the same from its first step to its last."""

    def __init__(
        self,
        task: Trainable,
        feed: InputPipeline,
        seeds: Sequence[int],
        folder: epath.Path,
        options: LoopOptions,
        say: Callable[[str], None],
    ) -> None:
        self.task, self.feed, self.seeds = task, feed, seeds
        self.folder, self.options, self.say = folder, options, say
        self.layout = options.layout
        self.layout.check("batch_size", task.batch_size, len(seeds))
        self.epoch_steps = feed.steps_per_epoch
        self.phases = read_phases(task, self.epoch_steps)
        self.total = sum(phase.num_steps for phase in self.phases)
        # By position of the phase and number of updates.
        self.programs: dict[tuple[int, int], Program] = {}
        self.waited = 0.0  # seconds, for examples

    # -- before the first step --------------------------------------------------

    def program(
        self, position: int, states: TrainState, resources: Resources, calls: int
    ) -> Program:
        """The compiled step of one of `phases` for `calls` updates; compiled once."""
        key = (position, calls)
        if key not in self.programs:
            self.programs[key] = compile_step(
                self.phases[position],
                self.feed.augmentation,
                self.options.step,
                self.layout,
                states,
                resources,
                self.feed.take(0, calls, self.layout),
            )
        return self.programs[key]

    def take(self, step: int, calls: int) -> Array | np.ndarray:
        """The examples of the next call; how long they were waited for is counted."""
        started = time.monotonic()
        examples = self.layout.examples_to_device(
            self.feed.take(step, calls, self.layout)
        )
        self.waited += time.monotonic() - started
        return examples

    # -- the loop ---------------------------------------------------------------

    def run(
        self, frozen: Tree, states: TrainState, checkpoints: Checkpoints
    ) -> Learned:
        """From the newest checkpoint, or the start, to the last step.

        states: of the own seeds on the host. Returns their networks there.
        """
        done, restored = 0, checkpoints.restore(states, self.say)
        if restored:
            done, states = restored
            self.say(f"resume      from step {done:,} of {self.total:,}")
        if done >= self.total:
            return self.layout.from_checkpoint(states.learned)
        resources = self.feed.resources(frozen, self.layout)
        states = self.layout.states_to_device(states)
        self.say_costs(states, resources)
        log = MetricsLog(self.folder, done)
        images = self.task.batch_size * len(self.seeds)
        bar = progress_bar(self.total * images, done * images, self.feed.name)
        try:
            with Preemption() as preemption:
                states = self.steps(
                    done, states, resources, checkpoints, log, bar, preemption
                )
            return self.layout.states_to_host(states.learned)
        finally:
            bar.close()
            log.close()

    def say_costs(self, states: TrainState, resources: Resources) -> None:
        """Compiles all phases and says what they cost."""
        calls = self.options.step.steps_per_call
        programs = [
            self.program(position, states, resources, min(calls, phase.num_steps))
            for position, phase in enumerate(self.phases)
        ]
        sizes = (self.task.batch_size, len(self.seeds), self.layout)
        for line in summary.model_lines(states, resources, len(self.seeds)):
            self.say(line)
        for line in summary.cost_lines(programs, states, resources, *sizes):
            self.say(line)
        if self.layout.kind == BATCH and len(self.layout.devices) > 1:
            self.say_crossing(states, resources)

    def say_crossing(self, states: TrainState, resources: Resources) -> None:
        """What the devices exchange in the longest phase."""
        phase = max(self.phases, key=lambda phase: phase.num_steps)
        one = jax.eval_shape(lambda: jax.tree.map(lambda x: x[:1], states))
        examples = self.feed.take(0, 1, self.layout)[0][:, :1]
        crossing = crossing_bytes(
            phase, self.feed.augmentation, one, resources, examples
        )
        self.say(
            f"crossing    {crossing / 1e6:,.4g} MB of each device in an update of a "
            f"seed ({phase.name})"
        )

    def steps(  # type: ignore[no-untyped-def]
        self,
        done: int,
        states: TrainState,
        resources: Resources,
        checkpoints: Checkpoints,
        log: MetricsLog,
        bar,
        preemption: Preemption,
    ) -> TrainState:
        """Updates until the end; metrics are read one call late."""
        started = saved_at = time.monotonic()
        saved_step, late, stop = done, None, False
        while done < self.total:
            position, calls = self.next_call(done)
            program = self.program(position, states, resources, calls)
            states, metrics = program.call(states, resources, self.take(done, calls))
            self.read(late, log, bar)
            late = (done, calls, self.phases[position].name, metrics)
            done += calls
            if self.options.must_wait:
                jax.block_until_ready(metrics)
            due, stop = self.asked(done, calls, saved_at, preemption)
            if due or stop or done == self.total:
                self.read(late, log, bar)
                late = None
                self.save(done, states, checkpoints, log)
                saved_at, saved_step = time.monotonic(), done
            if stop:
                break
        checkpoints.wait()
        # A signal may have come while the last state was written.
        stop = stop or any(multihost.all_gather(preemption.requested))
        bar.close()  # or the line would stand behind it
        self.say(
            f"input       waited {self.waited:.1f} s of "
            f"{time.monotonic() - started:.1f} s for examples"
        )
        if stop:
            raise Preempted(f"stopped and saved at step {saved_step}")
        return states

    def asked(
        self, done: int, calls: int, saved_at: float, preemption: Preemption
    ) -> tuple[bool, bool]:
        """Whether it is time to save, and whether to stop, on every process alike."""
        due = time.monotonic() - saved_at > 60 * self.options.checkpoint_minutes
        stop = preemption.requested
        if multihost.num_processes() == 1:
            return due, stop
        every = self.options.log_every
        if done // every == (done - calls) // every and done < self.total:
            return False, False
        told = multihost.all_gather((due, stop))
        return told[0][0], any(stop for _, stop in told)

    def next_call(self, done: int) -> tuple[int, int]:
        """Position of the phase of step `done`, and how many updates to dispatch."""
        for position, phase in enumerate(self.phases):
            if done < phase.num_steps:
                return position, min(
                    self.options.step.steps_per_call, phase.num_steps - done
                )
            done -= phase.num_steps
        raise AssertionError("a step after the last phase")

    def read(self, late, log: MetricsLog, bar) -> None:  # type: ignore[no-untyped-def]
        """Fetches the metrics of a finished call, checks them and writes them."""
        if late is None:
            return
        start, calls, phase, metrics = late
        columns = self.layout.metrics_to_host(metrics)  # each (K, own seeds)
        own = [self.seeds[place] for place in self.layout.local_seeds(len(self.seeds))]
        for i in range(calls):
            step = start + i + 1
            values = {name: column[i] for name, column in columns.items()}
            if multihost.num_processes() == 1 or self.layout.kind == BATCH:
                check_finite(step, own, values)  # else one process would stop alone
            if step % self.options.log_every == 0 or step in (1, self.total):
                values = self.of_all_seeds(values)
                check_finite(step, self.seeds, values)
                epoch = step / self.epoch_steps
                log.write(step, epoch, phase, self.seeds, values)
        bar.update(calls * self.task.batch_size * len(self.seeds))

    def of_all_seeds(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Values of the own seeds on each process -> of all, on every one."""
        if self.layout.kind == BATCH:
            return values
        told = multihost.all_gather(values)
        return {name: np.concatenate([own[name] for own in told]) for name in values}

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
