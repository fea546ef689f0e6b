"""MNAD in reconstruction mode (arXiv 2003.13228), as the paper runs it [P 5.2].

An autoencoder whose decoder sees, beside the features of each place, what a memory of
a few prototypes says of them; anomalies have no prototype.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from gcad_jax.core import fields
from gcad_jax.core.axes import mean_over_batch
from gcad_jax.core.types import AnomalyMaps, Array, Images, Key, Keys, Metrics, Tree
from gcad_jax.methods.base import Batch, DetectorState, Learned, Phase, TrainState
from gcad_jax.methods.common.defaults import NothingFrozen, OneMap
from gcad_jax.methods.common.hparams import TrainedHParams
from gcad_jax.methods.common.optimizers import apply_gradients, cosine_decay
from gcad_jax.models import mnad
from gcad_jax.models.layers.init import scaled
from gcad_jax.models.mnad import SIDE_MULTIPLE, WIDTHS, MemoryDecoder, MemoryEncoder

NETWORKS = ("encoder", "decoder")
MARGIN = 1.0  # of the triplet loss
APART = 1e-6  # added to differences before their norm, as PyTorch's triplet loss does


@dataclasses.dataclass(eq=False)
class MNAD(TrainedHParams, NothingFrozen, OneMap):
    """MNAD; defaults are the paper's (Section 5.2)."""

    title: ClassVar[str] = "MNAD"
    samples_per_epoch: ClassVar[int | None] = None

    image_size: int = fields.changed(
        TrainedHParams, "image_size", 256, fields.image_side(SIDE_MULTIPLE)
    )
    batch_size: int = fields.changed(TrainedHParams, "batch_size", 4)
    learning_rate: float = fields.changed(TrainedHParams, "learning_rate", 2e-5)
    final_learning_rate: float = fields.field(0.0, fields.NOT_NEGATIVE)
    """The fraction of it at the end of a half-cosine decay, epoch by epoch [MNAD's
    published code]."""
    items: int = fields.field(
        10,
        fields.Allowed(
            at_least=2,
            at_most=2**16,
            reason="every feature is compared with every item",
            too_low="a feature is kept away from its second nearest item, so there "
            "must be 2 or more",
        ),
    )
    """Of the memory; each has as many dimensions as the features [P 5.2]."""
    width: float = fields.field(1.0, fields.FACTOR)
    """Factor on every width [ours]."""
    compactness: float = fields.field(0.1, fields.NOT_NEGATIVE)
    """Weight of the loss that draws features to their item [P 5.2]."""
    separateness: float = fields.field(0.1, fields.NOT_NEGATIVE)
    """Weight of the loss that keeps them from the second nearest [P 5.2]."""

    @property
    def _widths(self) -> tuple[int, ...]:
        return tuple(scaled(width, self.width) for width in WIDTHS)

    def encoder(self) -> MemoryEncoder:
        """Image to features at an eighth of its side."""
        return MemoryEncoder(self._widths, self.dtype)

    def decoder(self) -> MemoryDecoder:
        """Features and what was read from the memory to the image."""
        return MemoryDecoder(self.channels, self._widths, self.dtype)

    # -- before training --------------------------------------------------------

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam for encoder and decoder, without decay."""
        return dict.fromkeys(NETWORKS, optax.adam(self.learning_rate))

    def init(self, key: Key) -> Learned:
        """Networks, their running batch statistics, and the memory."""
        of_encoder, of_decoder, of_memory = jax.random.split(key, 3)
        side = self.image_size // SIDE_MULTIPLE
        image = jnp.zeros((1, self.image_size, self.image_size, self.channels))
        features = jnp.zeros((1, side, side, 2 * self._widths[-1]))
        variables = {
            "encoder": self.encoder().init(of_encoder, image, False),
            "decoder": self.decoder().init(of_decoder, features, False),
        }
        state = {name: variables[name]["batch_stats"] for name in NETWORKS}
        state["memory"] = mnad.init_memory(of_memory, self.items, self._widths[-1])
        return Learned({name: variables[name]["params"] for name in NETWORKS}, state)

    # -- training ---------------------------------------------------------------

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        """One: both networks, and the memory written after each update's reading."""
        num_steps = self.epochs * steps_per_epoch
        optimizers = self.optimizers()

        def update(
            state: TrainState, frozen: Tree, batch: Batch, keys: Keys
        ) -> tuple[TrainState, Metrics]:
            del frozen, keys  # nothing is drawn beside the augmentation
            gradients, (metrics, model_state) = jax.grad(self.loss, has_aux=True)(
                state.learned.params, state.learned.model_state, batch.images
            )
            # After each epoch, as the published code does.
            epoch = state.step // steps_per_epoch
            rate = cosine_decay(epoch, self.epochs, self.final_learning_rate)
            state = apply_gradients(optimizers, state, gradients, rate, model_state)
            return state, mean_over_batch(metrics)

        return (Phase("reconstruction", num_steps, update),)

    def loss(
        self, params: Mapping[str, Tree], model_state: Tree, images: Images
    ) -> tuple[Array, tuple[Metrics, Tree]]:
        """Reconstruction, compactness and separateness; needs the axis `BATCH`.

        L = mse(I, I^) + compactness * mse(q, m_1) + separateness * mean of
        max(0, |q - m_1| - |q - m_2| + 1), with q the features of each place, of unit
        length, and m_1, m_2 their nearest items in the memory as it was before.
        Returned with the running statistics and the memory as they are afterwards.
        """
        memory, new = model_state["memory"], {}
        x = 2 * images - 1

        def apply(name: str, net, inputs: Array) -> Array:  # type: ignore[no-untyped-def]
            variables = {"params": params[name], "batch_stats": model_state[name]}
            y, changed = net.apply(variables, inputs, True, mutable=["batch_stats"])
            new[name] = changed["batch_stats"]
            return jnp.asarray(y, jnp.float32)

        queries = mnad.l2_normalize(apply("encoder", self.encoder(), x))
        reconstruction = apply("decoder", self.decoder(), _with_memory(memory, queries))
        flat = queries.reshape(-1, queries.shape[-1])
        first, second = mnad.nearest_two(memory, flat)
        metrics = {
            "L_rec": jnp.mean(jnp.square(reconstruction - x)),
            "L_compact": jnp.mean(jnp.square(flat - first)),
            "L_separate": jnp.mean(triplet(flat, first, second)),
        }
        loss = (
            metrics["L_rec"]
            + self.compactness * metrics["L_compact"]
            + self.separateness * metrics["L_separate"]
        )
        return loss, (metrics, {**new, "memory": mnad.update_memory(memory, flat)})

    # -- scoring ----------------------------------------------------------------

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """Squared distance from the reconstruction, gray values in [-1, 1]; (B, S, S).

        The memory stays as training left it: written at test time, it would make the
        score of an image depend on those before it.
        """
        learned, x = detector.learned, 2 * images - 1
        features = self.encoder().apply(learned.variables("encoder"), x, False)
        queries = mnad.l2_normalize(jnp.asarray(features, jnp.float32))
        y = self.decoder().apply(
            learned.variables("decoder"),
            _with_memory(learned.model_state["memory"], queries),
            False,
        )
        return jnp.sum(jnp.square(x - jnp.asarray(y, jnp.float32)), axis=-1)


def _with_memory(memory: Array, queries: Array) -> Array:
    """Queries (B, h, w, D) and what the memory says of each: (B, h, w, 2 D)."""
    flat = queries.reshape(-1, queries.shape[-1])
    read = mnad.read_memory(memory, flat).reshape(queries.shape)
    return jnp.concatenate([queries, read], axis=-1)


def triplet(query: Array, near: Array, far: Array) -> Array:  # (Q, D) each -> (Q,)
    """max(0, |query - near| - |query - far| + 1)."""

    def distance(other: Array) -> Array:
        return jnp.linalg.norm(query - other + APART, axis=-1)

    return jnp.maximum(distance(near) - distance(far) + MARGIN, 0.0)
