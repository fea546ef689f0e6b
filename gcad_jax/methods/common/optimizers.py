"""Optimizers of the paper, and the one place where a gradient becomes an update."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from gcad_jax.core.axes import mean_over_batch
from gcad_jax.core.types import Array, Tree
from gcad_jax.methods.base import Learned, TrainState


def adam(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Adam with L2 in the gradient, on every parameter [P 5.2: "weight decay"].

    Equals torch.optim.Adam(weight_decay=...), the optimizer of the linked U-Net and
    Student-Teacher codes; optax.adamw (decoupled decay) does not.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.adam(learning_rate)
    )


def cosine_decay(step: Array, num_steps: int, final: float) -> Array:
    """Factor on the learning rate: 1 at step 0, `final` at `num_steps`, half a cosine.

    step: () int32; returns () float32. `final` = 1 is the paper's constant rate.
    """
    progress = jnp.clip(step / num_steps, 0.0, 1.0)
    return final + (1.0 - final) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))


def apply_gradients(
    optimizers: Mapping[str, optax.GradientTransformation],
    state: TrainState,
    gradients: Mapping[str, Tree],
    scale: Array | float = 1.0,
    model_state: Tree = None,
) -> TrainState:
    """Moves the networks named in `gradients`, no others, and counts the step.

    gradients: of the mean loss over this device's examples; averaged over the batch
        axis here. A network that is not named keeps its parameters and its optimizer
        state: with L2 in the gradient, zero gradients would not keep it still.
    scale: factor on the step that the optimizer proposes (learning-rate decay).
    model_state: entries that replace those of `Learned.model_state`; None for none.
    """
    gradients = mean_over_batch(dict(gradients))
    # Kernels come in another layout on GPU. Without this XLA transposes inside the
    # optimizer, which then cannot write in place.
    gradients = jax.tree.map(jax.lax.optimization_barrier, gradients)
    params = dict(state.learned.params)
    opt_state = dict(state.opt_state)
    for name, gradient in gradients.items():
        proposed, opt_state[name] = optimizers[name].update(
            gradient, opt_state[name], params[name]
        )
        proposed = jax.tree.map(lambda leaf: leaf * scale, proposed)
        params[name] = optax.apply_updates(params[name], proposed)
    old = state.learned.model_state
    new = old if model_state is None else {**old, **model_state}
    return TrainState(state.step + 1, Learned(params, new), opt_state, state.key)
