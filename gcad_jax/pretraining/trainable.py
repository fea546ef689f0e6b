"""The training task of the pretraining: what an update sees, and what it minimizes."""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gcad_jax.core.axes import mean_over_batch
from gcad_jax.core.types import Array, Features, Images, Key, Keys, Metrics, Tree
from gcad_jax.data.input.augment import gray
from gcad_jax.methods.base import Batch, Learned, Phase, TrainState
from gcad_jax.methods.common.optimizers import adam, apply_gradients, cosine_decay
from gcad_jax.pretraining.distillation import Distillation
from gcad_jax.pretraining.losses import compactness, triplet
from gcad_jax.pretraining.targets import Layers


@dataclasses.dataclass(eq=False)
class DistillationTask:
    """What the trainer trains: the settings, and P that is learned from."""

    settings: Distillation
    target: Layers

    @property
    def batch_size(self) -> int:
        """Windows of one update, over all devices."""
        return self.settings.batch_size

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam with L2 in the gradient for both networks."""
        optimizer = adam(self.settings.learning_rate, self.settings.weight_decay)
        return dict.fromkeys(("E_loc", "Decode"), optimizer)

    def init(self, key: Key) -> Learned:
        """Fresh E_loc and Decode."""
        E_loc_key, Decode_key = jax.random.split(key)
        net = self.settings.E_loc()
        E_loc = net.init(E_loc_key, jnp.zeros((1, 8, 8, 3)))["params"]
        uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        shape = (self.settings.d_loc, self.target.num_features)
        Decode = {"kernel": uniform(Decode_key, shape), "bias": jnp.zeros(shape[1])}
        return Learned({"E_loc": E_loc, "Decode": Decode}, {})

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        """One, of `num_steps` updates."""
        del steps_per_epoch  # the schedule counts updates
        return (Phase("distillation", self.settings.num_steps, self._update),)

    def _update(
        self, state: TrainState, frozen: Tree, batch: Batch, keys: Keys
    ) -> tuple[TrainState, Metrics]:
        anchors, positives = self.augment(batch.images, keys)
        targets = self.target_features(frozen, anchors)
        gradients, metrics = jax.grad(self.loss, has_aux=True)(
            state.learned.params, targets, anchors, positives
        )
        rate = cosine_decay(
            state.step, self.settings.num_steps, self.settings.final_learning_rate
        )
        state = apply_gradients(self.optimizers(), state, gradients, rate)
        return state, mean_over_batch(metrics)

    def augment(self, windows: Images, keys: Keys) -> tuple[Images, Images | None]:
        """Windows, some of them gray, and with L_m a positive of each.

        windows: (B, cut_side, cut_side, 3) in [0, 1]. keys: (B,). Returns anchors and
        positives, each (B, window, window, 3); None without L_m.
        """
        settings, shift = self.settings, self.settings.shift
        size = (settings.window, settings.window, 3)

        def augment_one(cut: Array, key: Key) -> tuple[Array, Array]:
            color_key, shift_key, noise_key = jax.random.split(key, 3)
            is_gray = jax.random.bernoulli(color_key, settings.grey_probability)
            cut = jnp.where(is_gray, gray(cut), cut)
            # The anchor stands in the middle of the cut, its positive beside it.
            end = shift + settings.window
            anchor = jax.lax.slice(cut, (shift, shift, 0), (end, end, 3))
            if not shift:
                return anchor, anchor
            row, column = jax.random.randint(shift_key, (2,), 0, 2 * shift + 1)
            positive = jax.lax.dynamic_slice(cut, (row, column, 0), size)
            noise = settings.noise * jax.random.normal(noise_key, size)
            return anchor, positive + noise

        anchors, positives = jax.vmap(augment_one)(windows, keys)
        return anchors, positives if shift else None

    def target_features(self, frozen: Tree, windows: Images) -> Features:
        """P of the windows, standardised where that is wanted; no gradient.

        (B, window, window, 3) in [0, 1] -> (B, grid, grid, F) float32.
        """
        mean, std = (
            jnp.asarray(frozen[name]).reshape(1, 1, 1, -1) for name in ("mean", "std")
        )
        features = self.target.features(frozen["P"], windows)
        return jax.lax.stop_gradient((features - mean) / std)

    def loss(
        self,
        params: Mapping[str, Tree],
        targets: Features,
        anchors: Images,
        positives: Images | None,
    ) -> tuple[Array, Metrics]:
        """L over this device's patches; L_c over those of all devices.

        targets: (B, grid, grid, F). anchors, positives: (B, window, window, 3).
        """
        settings = self.settings
        d = settings.encode(params["E_loc"], anchors)
        difference = settings.decode(params["Decode"], d) - targets
        metrics = {"L_k": jnp.mean(jnp.sum(jnp.square(difference), axis=-1))}
        terms = [settings.lambda_k * metrics["L_k"]]
        if settings.lambda_c:
            metrics["L_c"] = compactness(flatten(d), settings.correlation)
            terms.append(settings.lambda_c * metrics["L_c"])
        if settings.lambda_m and positives is not None:
            d_positive = settings.encode(params["E_loc"], positives)
            metrics["L_m"] = triplet(flatten(d), flatten(d_positive), settings.margin)
            terms.append(settings.lambda_m * metrics["L_m"])
        return jnp.sum(jnp.stack(terms)), metrics


def flatten(features: Features) -> Array:  # (B, n, n, C) -> (B n n, C)
    """Every descriptor by itself."""
    return features.reshape(-1, features.shape[-1])
