"""AE and VAE [P 5.2]: one network, skips that fade, squared distances.

Two methods, one implementation: VAE draws its code and pays for the divergence.
"""

import dataclasses
import math
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
from gcad_jax.methods.common.hparams import AdamHParams, scaled_widths
from gcad_jax.methods.common.optimizers import adam, apply_gradients, cosine_decay
from gcad_jax.models.autoencoder import Autoencoder
from gcad_jax.models.layers.skip_fading import FADES, NUM_SKIPS, skip_weights


@dataclasses.dataclass(eq=False)
class ReconstructionMethod(AdamHParams, NothingFrozen, OneMap):
    """What AE and VAE have in common; defaults are the paper's (Section 5.2)."""

    title: ClassVar[str]
    variational: ClassVar[bool]

    batch_size: int = fields.changed(AdamHParams, "batch_size", 16)
    """Examples of an update; batch norms see all of them (images) [P 5.2]."""
    inference_batch_size: int = fields.changed(AdamHParams, "inference_batch_size", 16)
    g: int = fields.field(32, fields.CHANNELS)
    """Dimensions of the code (features) [P 5.2]."""
    width: float = fields.field(1.0, fields.FACTOR)
    """Factor on the hidden widths [ours]."""
    widths: tuple[int, ...] = fields.field(
        (32, 32, 64, 64, 128), fields.CHANNELS.items("width", NUM_SKIPS)
    )
    """Of the five halvings, before the factor, as E_glo's (channels) [ours, as in
    networks of the same group]."""
    slope: float = fields.field(5e-3, fields.NOT_NEGATIVE)
    """Of every LeakyReLU below 0 [ours, as in Student-Teacher's networks]."""
    skip_end: float = fields.field(0.2, fields.SHARE_OF_EPOCHS)
    """What passes until the skips have faded; 100 of 500 (fraction of the epochs) [P
    5.2]."""
    skip_schedule: str = fields.field("sequential", fields.choices(*FADES))
    """How they fade: see GCAD [ours]."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        super().validate()
        self.network()

    def network(self) -> Autoencoder:
        """E_glo's network with the image as its result; variational: the code twice."""
        widths = scaled_widths("widths", self.widths, self.width)
        return Autoencoder(
            self.g, widths, self.slope, self.variational, dtype=self.dtype
        )

    # -- training ---------------------------------------------------------------

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam for the one network."""
        return {self.title: adam(self.learning_rate, self.weight_decay)}

    def init(self, key: Key) -> Learned:
        """The network and its running batch statistics."""
        net = self.network()
        image = jnp.zeros((1, self.image_size, self.image_size, net.channels))
        variables = net.init(key, image, jnp.ones(NUM_SKIPS))
        return Learned(
            {self.title: variables["params"]}, {self.title: variables["batch_stats"]}
        )

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        """While the skips fade, and without them [P 5.2]; a phase has steps."""
        fading_epochs = math.ceil(self.skip_end * self.epochs)
        stretches = (
            ("skips fading", fading_epochs, True),
            ("without skips", self.epochs - fading_epochs, False),
        )
        return tuple(
            Phase(name, epochs * steps_per_epoch, self._update(steps_per_epoch, skips))
            for name, epochs, skips in stretches
            if epochs * steps_per_epoch
        )

    def _update(self, steps_per_epoch: int, with_skips: bool):  # type: ignore[no-untyped-def]
        """The update of one phase."""
        optimizers = self.optimizers()

        def update(
            state: TrainState, frozen: Tree, batch: Batch, keys: Keys
        ) -> tuple[TrainState, Metrics]:
            del frozen
            # Skip weights change after each epoch, not within one [P 5.2].
            skips = skip_weights(
                state.step // steps_per_epoch,
                self.skip_end * self.epochs,
                self.skip_schedule,
            )
            gradients, (metrics, statistics) = jax.grad(self.loss, has_aux=True)(
                state.learned.params,
                state.learned.model_state,
                batch.images,
                skips if with_skips else None,
                keys,
            )
            rate = cosine_decay(
                state.step, self.epochs * steps_per_epoch, self.final_learning_rate
            )
            state = apply_gradients(optimizers, state, gradients, rate, statistics)
            return state, mean_over_batch(metrics)

        return update

    def loss(
        self,
        params: dict[str, Tree],
        statistics: Tree,
        images: Images,
        skips: Array | None,
        keys: Keys,
    ) -> tuple[Array, tuple[Metrics, Tree]]:
        """Mean squared error, and what the code costs; needs the axis `BATCH`.

        keys: (B,), one an example, of which the noise on its code is drawn.
        statistics: the running ones; returned as they are after this batch.
        """
        variables = Learned(params, statistics).variables(self.title)
        noise = None
        if self.variational:
            noise = jax.vmap(lambda key: jax.random.normal(key, (self.g,)))(keys)
        outputs, new = self.network().apply(
            variables, images, skips, noise, True, mutable=["batch_stats"]
        )
        image, mean, log_variance = jax.tree.map(
            lambda x: x.astype(jnp.float32), outputs
        )
        L_rec = jnp.mean(jnp.square(image - images))
        costs, metrics = self.code_costs(mean, log_variance, images)
        loss = sum(costs, L_rec)
        return loss, ({"L_rec": L_rec, **metrics}, {self.title: new["batch_stats"]})

    def code_costs(
        self, mean: Array, log_variance: Array | None, images: Images
    ) -> tuple[list[Array], Metrics]:
        """What the code adds to the loss, and is logged of it: of a plain one nothing.

        mean, log_variance: (B, g). images: (B, S, S, 3).
        """
        del mean, log_variance, images
        return [], {}

    # -- scoring ----------------------------------------------------------------

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """Squared distance of each pixel from its reconstruction; (B, S, S).

        A variational code is its mean: nothing is drawn.
        """
        variables = detector.learned.variables(self.title)
        outputs = self.network().apply(variables, images, None)
        return jnp.sum(jnp.square(images - outputs[0].astype(jnp.float32)), axis=-1)
