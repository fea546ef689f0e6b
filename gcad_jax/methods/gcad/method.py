"""GCAD, Section 4 of the paper, in its symbols.

E_loc describes p x p patches and is frozen; R_loc regresses it (Eq. 2). E_glo sees
the whole image through a g-dimensional bottleneck; U lifts its features to those of
E_loc (Eq. 3) and R_glo regresses them (Eq. 4). Where a regression fails, the image is
anomalous. A model for each receptive field p in P; their maps are averaged.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from gcad_jax.core import fields
from gcad_jax.core.axes import mean_over_batch
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.types import Images, ImagesU8, Key, Keys, Metrics, Tree
from gcad_jax.methods.base import Batch, Learned, Phase, TrainState
from gcad_jax.methods.common.apply import each_batch
from gcad_jax.methods.common.calibration import CalibratedBranches
from gcad_jax.methods.common.optimizers import adam, apply_gradients, cosine_decay
from gcad_jax.methods.gcad.losses import R_glo_weight, total_loss
from gcad_jax.methods.gcad.networks import BRANCH_OF_NETWORK, Networks
from gcad_jax.methods.gcad.scoring import (
    WHITENING,
    differences,
    squared_distances,
    whitenings,
)
from gcad_jax.models.layers.skip_fading import FADES, skip_weights

REGRESSION, RECONSTRUCTION = "regression", "reconstruction"
EUCLIDEAN, MAHALANOBIS = "euclidean", "mahalanobis"


@dataclasses.dataclass(eq=False)
class GCAD(Networks, CalibratedBranches):
    """GCAD; defaults are the paper's (Section 5.2)."""

    title: ClassVar[str] = "GCAD"

    A_glo_from: str = fields.field(
        REGRESSION, fields.choices(REGRESSION, RECONSTRUCTION)
    )
    """How: "regression", where R_glo misses E_glo; or the ablation "reconstruction":
    where U misses what it was taught [P 4; P Fig. 12]."""
    distance: str = fields.field(EUCLIDEAN, fields.choices(EUCLIDEAN, MAHALANOBIS))
    """Of features from their regression: "euclidean", or "mahalanobis", by the
    covariance of the differences on good validation images, so that a feature counts as
    much as it is well predicted there [P 4; the latter is ours]."""
    R_glo_start: float = fields.field(0.1, fields.SHARE_OF_EPOCHS)
    """What passes before R_glo is trained; 50 of 500; 1, never, with A_glo_from
    "reconstruction" alone (fraction of the epochs) [P 5.2]."""
    skip_end: float = fields.field(0.2, fields.SHARE_OF_EPOCHS)
    """What passes until the skips have faded; 100 of 500 (fraction of the epochs) [P
    5.2]."""
    joint_ramp: float = fields.field(0.0, fields.SHARE_OF_EPOCHS)
    """Stretch over which the gradient of L_glo into E_glo rises from 0 to 1 once R_glo
    is trained; 0, at once, is the paper's (fraction of the epochs) [P 4; ours where
    above 0]."""
    skip_schedule: str = fields.field("sequential", fields.choices(*FADES))
    """How the skips fade: "sequential", one after the other, the highest resolution
    first; "staggered", all from the start, ending one after the other; or "overlapping"
    [ours: P 5.2 gives first and last epoch, and the order]."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        super().validate()
        if self.A_glo_from == REGRESSION and self._never_trains_R_glo:
            raise UserError(
                f"R_glo_start is {self.R_glo_start} of {self.epochs} epochs: no epoch "
                "is left to train R_glo; lower it."
            )

    @property
    def _never_trains_R_glo(self) -> bool:
        start = round(self.R_glo_start * self.epochs)
        return "A_glo" in self.branches and start >= self.epochs

    @property
    def trained_networks(self) -> tuple[str, ...]:
        """The networks of each model that the branches and the schedule need."""
        return tuple(
            net
            for net in super().trained_networks
            if net != "R_glo" or not self._never_trains_R_glo
        )

    # -- before training --------------------------------------------------------

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam for each network, each with its own state."""
        optimizer = adam(self.learning_rate, self.weight_decay)
        return {
            f"{net}_{model}": optimizer
            for model in self.models
            for net in self.trained_networks
        }

    def init(self, key: Key) -> Learned:
        """E_glo, U, R_loc, R_glo of each model, from the seed's key."""
        images = self.seen(jnp.zeros((1, self.image_size, self.image_size, 3)))
        features = jnp.zeros((*images.shape[:3], self.d_glo))
        of_image = images if self.classifier is None else jnp.zeros((1, self.g))
        inits = {
            "E_glo": lambda key: self.E_glo().init(key, of_image, jnp.ones(5)),
            "U": lambda key: self.U().init(key, features),
            "R_loc": lambda key: self.R_loc().init(key, images),
            "R_glo": lambda key: self.R_glo().init(key, images),
        }
        params = {}
        for model in self.models:
            # A network has its key whatever others are trained beside it.
            of_model = jax.random.fold_in(key, model if isinstance(model, int) else 0)
            keys = jax.random.split(of_model, len(BRANCH_OF_NETWORK))
            for net, key_of_net in zip(BRANCH_OF_NETWORK, keys, strict=True):
                if net in self.trained_networks:
                    params[f"{net}_{model}"] = inits[net](key_of_net)["params"]
        return Learned(params, {})

    # -- training ---------------------------------------------------------------

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        """Without R_glo; with it; and with it after the skips have faded [P 5.2].

        One phase where there is no global branch.
        """
        if "A_glo" not in self.branches:
            steps = self.epochs * steps_per_epoch
            return (Phase("local", steps, self._update(steps_per_epoch, False, False)),)
        start = round(self.R_glo_start * self.epochs)
        has_skips = self.classifier is None
        faded = math.ceil(self.skip_end * self.epochs) if has_skips else 0
        bounds = sorted({0, start, faded, self.epochs})
        return tuple(
            Phase(
                name=("joint" if first >= start else "global encoder")
                + ("" if first >= faded else ", skips fading"),
                num_steps=(last - first) * steps_per_epoch,
                update=self._update(steps_per_epoch, first >= start, first < faded),
            )
            for first, last in itertools.pairwise(bounds)
        )

    def _update(self, steps_per_epoch: int, with_R_glo: bool, with_skips: bool):  # type: ignore[no-untyped-def]
        """The update of one phase; R_glo and L_glo are absent before their phase."""
        nets = [net for net in self.trained_networks if with_R_glo or net != "R_glo"]
        names = [f"{net}_{model}" for model in self.models for net in nets]
        optimizers = self.optimizers()
        num_steps = self.epochs * steps_per_epoch

        def update(
            state: TrainState, frozen: Tree, batch: Batch, keys: Keys
        ) -> tuple[TrainState, Metrics]:
            del keys  # GCAD draws nothing beside the augmentation
            # Skip weights change after each epoch, not within one [P 5.2].
            epoch = state.step // steps_per_epoch
            fade = self.skip_end * self.epochs
            skips = skip_weights(epoch, fade, self.skip_schedule)
            trained = {name: state.learned.params[name] for name in names}
            loss = functools.partial(total_loss, self)
            gradients, metrics = jax.grad(loss, has_aux=True)(
                trained,
                self.cached_or_computed(frozen, batch),
                batch.images,
                skips if with_skips else None,
                R_glo_weight(state.step, num_steps, self.R_glo_start, self.joint_ramp),
            )
            rate = cosine_decay(state.step, num_steps, self.final_learning_rate)
            state = apply_gradients(optimizers, state, gradients, rate)
            return state, mean_over_batch(metrics)

        return update

    # -- scoring ----------------------------------------------------------------

    def _differences(self, frozen: Tree, learned: Learned, images: Images) -> Tree:
        reconstructed = self.A_glo_from == RECONSTRUCTION
        return differences(self, frozen, learned.params, images, reconstructed)

    def _metric(self, frozen: Tree, learned: Learned, images: ImagesU8) -> Tree:
        """The whitening of each branch, where distances are Mahalanobis'."""
        if self.distance == EUCLIDEAN:
            return {}
        arguments, size = (frozen, learned), self.inference_batch_size
        batches = each_batch(jit_here(self._differences), images, size, arguments)
        return {name: {WHITENING: W} for name, W in whitenings(batches).items()}

    def _raw_maps(
        self, frozen: Tree, learned: Learned, metric: Tree, images: Images
    ) -> Tree:
        """{"A_loc_<p>", "A_glo_<p>"}: squared distances (B, S, S), float32 [P 4]."""
        _, height, width, _ = images.shape
        size = height, width
        return {
            name: squared_distances(found, metric.get(name, {}).get(WHITENING), size)
            for name, found in self._differences(frozen, learned, images).items()
        }
