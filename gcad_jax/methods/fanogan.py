"""f-AnoGAN (Schlegl et al., 2019), as the paper runs it [P 5.2].

A generator learns to draw good images (WGAN-GP); then an encoder learns which z draws
a given image, by the image and by the critic's features of it (izi_f). What the
generator does not draw again is anomalous. 64 x 64 pixels, gray.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from gcad_jax.core import fields
from gcad_jax.core.axes import mean_over_batch
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import AnomalyMaps, Array, Images, Key, Keys, Metrics, Tree
from gcad_jax.methods.base import Batch, DetectorState, Learned, Phase, TrainState
from gcad_jax.methods.common.defaults import NothingFrozen, OneMap
from gcad_jax.methods.common.hparams import TrainedHParams
from gcad_jax.methods.common.optimizers import apply_gradients
from gcad_jax.models.fanogan import (
    WIDTHS,
    Discriminator,
    Generator,
    ImageEncoder,
    side,
)

FOR_D, FOR_G, FOR_MIX = 0, 1, 2  # what is drawn of an example's key
EPS = 1e-12  # squared gradient under the root


@dataclasses.dataclass(eq=False)
class FAnoGAN(TrainedHParams, NothingFrozen, OneMap):
    """f-AnoGAN; defaults are the paper's (Section 5.2)."""

    title: ClassVar[str] = "f-AnoGAN"
    channels: ClassVar[int] = 1

    image_size: int = fields.changed(TrainedHParams, "image_size", 64, fields.PIXELS)
    """Side of the square input: 4, doubled once for each width (pixels) [P 5.2]."""
    epochs: int = fields.changed(TrainedHParams, "epochs", 100)
    """Of the generator's training, in which the critic makes an update with each batch
    (epochs) [P 5.2]."""
    batch_size: int = fields.changed(TrainedHParams, "batch_size", 64)
    """Examples of an update; may be larger than the data set (images) [P 5.2]."""
    learning_rate: float = fields.changed(TrainedHParams, "learning_rate", 1e-4)
    """Of Adam, for generator and critic [P 5.2]."""
    inference_batch_size: int = fields.changed(
        TrainedHParams, "inference_batch_size", 64
    )
    samples_per_epoch: int = fields.field(10_000, fields.POSITIVE)
    """How many are drawn in an epoch (images) [ours: the group augments to 10,000 in
    other papers]."""
    critic_updates: int = fields.field(5, fields.POSITIVE)
    """The critic's for each update of the generator (updates) [P 5.2]."""
    encoder_updates: int = fields.field(50_000, fields.POSITIVE)
    """The encoder's after the generator's training (updates) [P 5.2]."""
    latent: int = fields.field(128, fields.CHANNELS)
    """Dimensions of z (features) [P 5.2]."""
    widths: tuple[int, ...] = fields.field(WIDTHS, fields.CHANNELS.items("width"))
    """Of the residual blocks, at the image's end first (channels) [f-AnoGAN's published
    code]."""
    momentum: float = fields.field(0.99, fields.FRACTION)
    """What G and E keep of their running statistics with each of their updates
    [f-AnoGAN's published code]."""
    gradient_penalty: float = fields.field(10.0, fields.NOT_NEGATIVE)
    """Weight of WGAN's penalty [f-AnoGAN's published code]."""
    kappa: float = fields.field(1.0, fields.NOT_NEGATIVE)
    """Weight of the critic's features in the encoder's loss [f-AnoGAN's published
    code]."""
    encoder_learning_rate: float = fields.field(5e-5, fields.POSITIVE)
    """Of RMSProp, for the encoder [P 5.2]."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        super().validate()
        if not self.widths or self.image_size != side(self.widths):
            raise UserError(
                f"image_size is {self.image_size}, and widths names "
                f"{len(self.widths)} widths; {len(self.widths)} are for "
                f"{side(self.widths)} pixels: change one of them."
            )

    def generator(self) -> Generator:
        """G: z to image."""
        return Generator(self.channels, self.widths, self.momentum, self.dtype)

    def discriminator(self) -> Discriminator:
        """D: image to score, and its features f."""
        return Discriminator(self.widths, self.dtype)

    def encoder(self) -> ImageEncoder:
        """E: image to z."""
        return ImageEncoder(self.latent, self.widths, self.momentum, self.dtype)

    # -- before training --------------------------------------------------------

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam for G and D, RMSProp for E, no decay."""
        adam = optax.adam(self.learning_rate, b1=0.0, b2=0.9)
        # TensorFlow's RMSProp: its mean square starts at 1.
        rmsprop = optax.rmsprop(
            self.encoder_learning_rate, decay=0.9, eps=1e-10, initial_scale=1.0
        )
        return {"G": adam, "D": adam, "E": rmsprop}

    def init(self, key: Key) -> Learned:
        """G, D and E, and the running batch statistics of G and E."""
        of_G, of_D, of_E = jax.random.split(key, 3)
        image = jnp.zeros((1, self.image_size, self.image_size, self.channels))
        G = self.generator().init(of_G, jnp.zeros((1, self.latent)), False)
        D = self.discriminator().init(of_D, image)
        E = self.encoder().init(of_E, image, False)
        return Learned(
            {"G": G["params"], "D": D["params"], "E": E["params"]},
            {"G": G["batch_stats"], "E": E["batch_stats"]},
        )

    # -- training ---------------------------------------------------------------

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        """The generator and its critic, then the encoder."""
        return (
            Phase("generator", self.epochs * steps_per_epoch, self._update_GAN),
            Phase("encoder", self.encoder_updates, self._update_encoder),
        )

    def _update_GAN(
        self, state: TrainState, frozen: Tree, batch: Batch, keys: Keys
    ) -> tuple[TrainState, Metrics]:
        """One of the critic; with every `critic_updates`-th one of the generator."""
        del frozen
        optimizers, learned = self.optimizers(), state.learned
        gradient, metrics = jax.grad(self.critic_loss, has_aux=True)(
            learned.params["D"], learned, 2 * batch.images - 1, keys
        )
        after = apply_gradients(optimizers, state, {"D": gradient})

        def generator(after: TrainState) -> TrainState:
            gradient, statistics = jax.grad(self.generator_loss, has_aux=True)(
                after.learned.params["G"], after.learned, keys
            )
            moved = apply_gradients(
                optimizers, after, {"G": gradient}, model_state={"G": statistics}
            )
            return moved.replace(step=after.step)  # type: ignore[attr-defined]

        due = state.step % self.critic_updates == self.critic_updates - 1
        after = jax.lax.cond(due, generator, lambda same: same, after)
        return after, mean_over_batch(metrics)

    def _sample_z(self, keys: Keys, draw: int) -> Array:
        """One z a key: (B, latent), another one for each `draw`."""

        def z_of(key: Key) -> Array:
            return jax.random.normal(jax.random.fold_in(key, draw), (self.latent,))

        return jax.vmap(z_of)(keys)

    def critic_loss(
        self, D: Tree, learned: Learned, images: Images, keys: Keys
    ) -> tuple[Array, Metrics]:
        """WGAN-GP: mean D(G(z)) - mean D(x) + lambda * mean (|grad D(x^)| - 1)^2.

        x^ between a real and a drawn image, at a uniform place for each pair. images:
        in [-1, 1]. keys: (B,), one an example. Needs the axis `BATCH`.
        """
        drawn, _ = self.generator().apply(
            learned.variables("G"),
            self._sample_z(keys, FOR_D),
            True,
            mutable=["batch_stats"],
        )
        drawn = jnp.asarray(drawn, jnp.float32)

        def score(images: Images) -> Array:
            scores, _ = self.discriminator().apply({"params": D}, images)
            return jnp.asarray(scores, jnp.float32)

        fold = jax.vmap(lambda key: jax.random.fold_in(key, FOR_MIX))
        mix = jax.vmap(jax.random.uniform)(fold(keys)).reshape(-1, 1, 1, 1)
        between = images + mix * (drawn - images)
        # The score of an image depends on no other: layer norms, not batch norms.
        slopes = jax.grad(lambda x: jnp.sum(score(x)))(between)
        squares = jnp.sum(jnp.square(slopes), axis=(1, 2, 3))
        penalty = jnp.mean(jnp.square(jnp.sqrt(squares + EPS) - 1))
        distance = jnp.mean(score(images)) - jnp.mean(score(drawn))
        metrics = {"L_wasserstein": distance, "L_penalty": penalty}
        return self.gradient_penalty * penalty - distance, metrics

    def generator_loss(
        self, G: Tree, learned: Learned, keys: Keys
    ) -> tuple[Array, Tree]:
        """-mean D(G(z)), and G's running statistics after it; needs `BATCH`."""
        variables = {"params": G, "batch_stats": learned.model_state["G"]}
        drawn, new = self.generator().apply(
            variables, self._sample_z(keys, FOR_G), True, mutable=["batch_stats"]
        )
        scores, _ = self.discriminator().apply({"params": learned.params["D"]}, drawn)
        return -jnp.mean(scores.astype(jnp.float32)), new["batch_stats"]

    def _update_encoder(
        self, state: TrainState, frozen: Tree, batch: Batch, keys: Keys
    ) -> tuple[TrainState, Metrics]:
        """One of the encoder; G, on its running statistics, and D stay."""
        del frozen, keys  # nothing is drawn beside the augmentation
        gradient, (metrics, statistics) = jax.grad(self.encoder_loss, has_aux=True)(
            state.learned.params["E"], state.learned, 2 * batch.images - 1
        )
        state = apply_gradients(
            self.optimizers(), state, {"E": gradient}, model_state={"E": statistics}
        )
        return state, mean_over_batch(metrics)

    def encoder_loss(
        self, E: Tree, learned: Learned, images: Images
    ) -> tuple[Array, tuple[Metrics, Tree]]:
        """izi_f: mse(x, G(E(x))) + kappa * mse(f(x), f(G(E(x)))); needs `BATCH`.

        images: in [-1, 1]. Returned with E's running statistics after it.
        """
        variables = {"params": E, "batch_stats": learned.model_state["E"]}
        z, new = self.encoder().apply(variables, images, True, mutable=["batch_stats"])
        again = self._generate(learned, jnp.asarray(z))
        D = {"params": learned.params["D"]}
        _, f = self.discriminator().apply(D, images)
        _, f_again = self.discriminator().apply(D, again)
        difference = jnp.asarray(f, jnp.float32) - jnp.asarray(f_again, jnp.float32)
        metrics = {
            "L_image": jnp.mean(jnp.square(images - again)),
            "L_features": jnp.mean(jnp.square(difference)),
        }
        loss = metrics["L_image"] + self.kappa * metrics["L_features"]
        return loss, (metrics, new["batch_stats"])

    def _generate(self, learned: Learned, z: Array) -> Images:
        """G(z) on running statistics, float32."""
        images = self.generator().apply(learned.variables("G"), z, False)
        return jnp.asarray(images, jnp.float32)

    # -- scoring ----------------------------------------------------------------

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """(x - G(E(x)))^2, gray values in [-1, 1]; (B, S, S)."""
        learned, x = detector.learned, 2 * images - 1
        z = self.encoder().apply(learned.variables("E"), x, False)
        return jnp.sum(jnp.square(x - self._generate(learned, jnp.asarray(z))), axis=-1)
