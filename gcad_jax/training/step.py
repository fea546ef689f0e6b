"""The step of one device: gather, augment, update, for every seed.

Randomness is folded from (seed, step, position of the example in the whole batch), so
that it does not depend on the number of devices or of seeds.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from gcad_jax.core.axes import BATCH
from gcad_jax.core.types import Array, Key, Keys, Metrics, Tree
from gcad_jax.data.input.augment import Augmentation, augment
from gcad_jax.data.input.device import gather, to_float
from gcad_jax.methods.base import Batch, Phase, TrainState

VMAP, UNROLL = "vmap", "unroll"


@struct.dataclass
class Resources:
    """What every step reads and none changes; the same for all seeds.

    frozen: `Method.prepare`'s. dataset: (N, H, W, C) uint8, or None where images are
    streamed. cached: `Method.cache` of the data set, leaves (N, ...), or None.
    """

    frozen: Tree
    dataset: Array | None
    cached: Tree


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """How a step is laid out; none of it changes what is computed.

    map_seeds: "vmap" (one batched program) or "unroll" (the seeds one after the
        other in one program: on CPU a vmapped convolution is a slow grouped one).
    steps_per_call: updates in one dispatch; 1 on CPU, where weight gradients of
        convolutions inside a loop are tens of times slower.
    """

    map_seeds: str = UNROLL
    steps_per_call: int = 1


def example_keys(key: Key, step: Array, count: int) -> tuple[Keys, Keys]:
    """Keys for augmentation and for the method, one each an example of this device."""
    first = jax.lax.axis_index(BATCH) * count
    step_key = jax.random.fold_in(key, step)
    keys = jax.vmap(lambda i: jax.random.fold_in(step_key, i))(
        first + jnp.arange(count)
    )
    pairs = jax.vmap(lambda k: jax.random.split(k, 2))(keys)
    return pairs[:, 0], pairs[:, 1]


def make_step(
    phase: Phase, augmentation: Augmentation, options: StepOptions
) -> Callable[[TrainState, Resources, Array], tuple[TrainState, Metrics]]:
    """The function of one device, which `Layout.map` maps over all.

    It takes the states of all seeds (leading axis S), the resources, and for each call,
    seed and example of this device (K, S, b) the row of the data set, int32, or the
    image itself, (K, S, b, H, W, C) uint8. It returns the states and metrics (K, S),
    already averaged over the devices.
    """

    def one_seed(
        state: TrainState, resources: Resources, examples: Array
    ) -> tuple[TrainState, Metrics]:
        augment_keys, keys = example_keys(state.key, state.step, examples.shape[0])
        if resources.dataset is None:
            images = to_float(examples)
        else:
            images = gather(resources.dataset, examples)
        if not augmentation.is_identity:
            images = jax.vmap(lambda k, x: augment(k, x, augmentation))(
                augment_keys, images
            )
        cached = jax.tree.map(lambda leaf: leaf[examples], resources.cached)
        return phase.update(state, resources.frozen, Batch(images, cached), keys)

    def all_seeds(
        states: TrainState, resources: Resources, examples: Array
    ) -> tuple[TrainState, Metrics]:
        if options.map_seeds == VMAP:
            # All seeds are at the same step. With a step for each, a condition on it
            # would compute both of its branches.
            replaced = states.replace  # type: ignore[attr-defined]
            axes = replaced(step=None, learned=0, opt_state=0, key=0)
            mapped = jax.vmap(one_seed, in_axes=(axes, None, 0), out_axes=(axes, 0))
            after, metrics = mapped(replaced(step=states.step[0]), resources, examples)
            replaced = after.replace  # type: ignore[attr-defined]
            return replaced(step=jnp.full_like(states.step, after.step)), metrics
        results = [
            one_seed(jax.tree.map(lambda x, s=s: x[s], states), resources, examples[s])
            for s in range(examples.shape[0])
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    def step(
        states: TrainState, resources: Resources, examples: Array
    ) -> tuple[TrainState, Metrics]:
        if examples.shape[0] == 1:
            states, metrics = all_seeds(states, resources, examples[0])
            return states, jax.tree.map(lambda x: x[None], metrics)
        return jax.lax.scan(lambda s, f: all_seeds(s, resources, f), states, examples)

    return step
