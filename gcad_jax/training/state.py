"""The states of all seeds before their first update."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.machine.compiler_options import compiler_options
from gcad_jax.core.types import Array
from gcad_jax.methods.base import Trainable, TrainState


def first_states(task: Trainable, seeds: Sequence[int]) -> TrainState:
    """The state of each seed, with a leading seed axis, in the memory of the host.

    The CPU draws them: a GPU would compile a kernel for each parameter, and
    `Layout.states_to_device` goes through the host anyway.
    """
    init = jax.jit(
        lambda seed: init_state(task, seed), compiler_options=compiler_options("cpu")
    )
    with jax.default_device(host_device()):
        return stack([init(seed) for seed in seeds])


def placeholder_states(task: Trainable, num_seeds: int) -> TrainState:
    """What `first_states` returns, with zeros in place of numbers; nothing is compiled.

    For timing alone: a network of zeros takes as long as any other.
    """
    shapes = jax.eval_shape(lambda: stack([init_state(task, 0)] * num_seeds))

    def zeros(leaf: jax.ShapeDtypeStruct) -> Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(0), leaf.shape)
        return jnp.asarray(np.zeros(leaf.shape, leaf.dtype))

    with jax.default_device(host_device()):
        return jax.tree.map(zeros, shapes)


def host_device() -> jax.Device | None:
    """The CPU; None where JAX_PLATFORMS leaves it out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def stack(states: Sequence[TrainState]) -> TrainState:
    """States of single seeds -> one with a leading seed axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def init_state(method: Trainable, seed: int | Array) -> TrainState:
    """The state of one seed before its first update; jit it, seed may be traced."""
    key = jax.random.key(seed)
    learned = method.init(jax.random.fold_in(key, 0))
    optimizers = method.optimizers().items()
    opt_state = {name: each.init(learned.params[name]) for name, each in optimizers}
    return TrainState(jnp.int32(0), learned, opt_state, jax.random.fold_in(key, 1))
