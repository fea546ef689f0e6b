"""AE, the autoencoder of the paper [P 5.2]: what it cannot reconstruct is anomalous."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import optax

from gcad_jax.core.types import AnomalyMaps, Array, Images, Key, Keys, Metrics, Tree
from gcad_jax.methods.base import DetectorState, Learned, Phase
from gcad_jax.methods.common import reconstruction
from gcad_jax.methods.common.defaults import NothingFrozen, OneMap
from gcad_jax.methods.common.hparams import settings
from gcad_jax.methods.common.optimizers import adam
from gcad_jax.models.autoencoder import Autoencoder

NETWORK = "AE"


@dataclasses.dataclass(eq=False)
class AE(NothingFrozen, OneMap):
    """Hyper-parameters of the autoencoder; defaults are the paper's (Section 5.2).

    image_size: side of the square input, a multiple of 32 (pixels) [P 5.2].
    epochs: passes over the training images (epochs) [P 5.2].
    batch_size: examples of an update; batch norms see all of them (images) [P 5.2].
    g: dimensions of the code (features) [P 5.2].
    width: factor on the hidden widths [ours].
    widths: of the five halvings, before the factor, as E_glo's (channels) [ours, as in
        networks of the same group].
    slope: of every LeakyReLU below 0 [ours, as in Student-Teacher's networks].
    skip_end: what passes until the skips have faded; 100 of 500 (fraction of the
        epochs) [P 5.2].
    skip_schedule: how they fade: "sequential", "staggered" or "overlapping", see GCAD
        [ours].
    learning_rate: Adam's rate at the beginning [P 5.2].
    final_learning_rate: the fraction of it at the end of a half-cosine decay; 1 keeps
        the rate constant [ours: P 5.2 names the initial rate alone].
    weight_decay: L2 added to the gradient before Adam, as PyTorch does [P 5.2].
    precision: of the networks' arithmetic, "float32" or "bfloat16"; parameters, losses
        and scores are float32 [ours].
    augmented: train on augmented images [P 5.1].
    inference_batch_size: size of one call outside training (images) [ours].
    """

    title: ClassVar[str] = "AE"
    channels: ClassVar[int] = 3
    samples_per_epoch: ClassVar[int | None] = None

    image_size: int = 256
    epochs: int = 500
    batch_size: int = 16
    g: int = 32
    width: float = 1.0
    widths: tuple[int, ...] = (32, 32, 64, 64, 128)
    slope: float = 5e-3
    skip_end: float = 0.2
    skip_schedule: str = "sequential"
    learning_rate: float = 1e-4
    final_learning_rate: float = 1.0
    weight_decay: float = 1e-5
    precision: str = "float32"
    augmented: bool = True
    inference_batch_size: int = 16

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        reconstruction.validate(self)

    def network(self) -> Autoencoder:
        """E_glo's network with the image as its result."""
        return reconstruction.network(self, variational=False)

    # -- training ---------------------------------------------------------------

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam for the one network."""
        return {NETWORK: adam(self.learning_rate, self.weight_decay)}

    def init(self, key: Key) -> Learned:
        """The network and its running batch statistics."""
        return reconstruction.init(self.network(), NETWORK, self.image_size, key)

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        """While the skips fade, and without them [P 5.2]."""
        optimizers = self.optimizers()
        return reconstruction.phases(self, optimizers, self.loss, steps_per_epoch)

    def loss(
        self,
        params: Mapping[str, Tree],
        statistics: Tree,
        images: Images,
        skips: Array | None,
        keys: Keys,
    ) -> tuple[Array, tuple[Metrics, Tree]]:
        """Mean squared error of the reconstruction; needs the axis `BATCH`.

        statistics: the running ones; returned as they are after this batch.
        """
        del keys  # nothing is drawn
        outputs, statistics = reconstruction.reconstructed(
            self.network(), NETWORK, params, statistics, images, skips
        )
        loss = jnp.mean(jnp.square(outputs[0] - images))
        return loss, ({"L_rec": loss}, statistics)

    # -- scoring ----------------------------------------------------------------

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """Squared distance of each pixel from its reconstruction."""
        net = self.network()
        return reconstruction.distance(net, NETWORK, detector.learned, images)

    def describe(self) -> tuple[str, ...]:
        """What differs from the paper in this run."""
        return (settings(self),)
