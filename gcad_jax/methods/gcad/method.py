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
from gcad_jax.core.types import Images, Key, Keys, Metrics, Tree
from gcad_jax.methods.base import Batch, Learned, Phase, TrainState
from gcad_jax.methods.common.calibration import CalibratedBranches
from gcad_jax.methods.common.optimizers import adam, apply_gradients, cosine_decay
from gcad_jax.methods.gcad.losses import R_glo_weight, total_loss
from gcad_jax.methods.gcad.networks import BRANCH_OF_NETWORK, Networks
from gcad_jax.methods.gcad.scoring import raw_maps
from gcad_jax.models.layers.skip_fading import FADES, skip_weights

REGRESSION, RECONSTRUCTION = "regression", "reconstruction"


@dataclasses.dataclass(eq=False)
class GCAD(Networks, CalibratedBranches):
    """GCAD; defaults are the paper's (Section 5.2)."""

    title: ClassVar[str] = "GCAD"

    A_glo_from: str = fields.field(
        REGRESSION, fields.choices(REGRESSION, RECONSTRUCTION)
    )
    """How: "regression", where R_glo misses E_glo; or the ablation "reconstruction":
    where U misses what it was taught [P 4; P Fig. 12]."""
    R_glo_start: float = fields.field(0.1, fields.SHARE_OF_EPOCHS)
    """What passes before R_glo is trained; 50 of 500 (fraction of the epochs) [P
    5.2]."""
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
        starts = round(self.R_glo_start * self.epochs)
        if "A_glo" in self.branches and starts >= self.epochs:
            raise UserError(
                f"R_glo_start is {self.R_glo_start} of {self.epochs} epochs: no epoch "
                "is left to train R_glo; lower it."
            )

    # -- before training --------------------------------------------------------

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam for each network, each with its own state."""
        optimizer = adam(self.learning_rate, self.weight_decay)
        return {
            f"{net}_{p}": optimizer for p in self.P for net in self.trained_networks
        }

    def init(self, key: Key) -> Learned:
        """E_glo, U, R_loc, R_glo of each p, from the seed's key."""
        images = jnp.zeros((1, self.image_size, self.image_size, 3))
        features = jnp.zeros((1, self.image_size, self.image_size, self.d_glo))
        inits = {
            "E_glo": lambda key: self.E_glo().init(key, images, jnp.ones(5)),
            "U": lambda key: self.U().init(key, features),
            "R_loc": lambda key: self.R_loc().init(key, images),
            "R_glo": lambda key: self.R_glo().init(key, images),
        }
        params = {}
        for p in self.P:
            # A network has its key whatever others are trained beside it.
            keys = jax.random.split(jax.random.fold_in(key, p), len(BRANCH_OF_NETWORK))
            for net, key_of_net in zip(BRANCH_OF_NETWORK, keys, strict=True):
                if net in self.trained_networks:
                    params[f"{net}_{p}"] = inits[net](key_of_net)["params"]
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
        faded = math.ceil(self.skip_end * self.epochs)
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
        names = [f"{net}_{p}" for p in self.P for net in nets]
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

    def _raw_maps(self, frozen: Tree, learned: Learned, images: Images) -> Tree:
        reconstructed = self.A_glo_from == RECONSTRUCTION
        return raw_maps(self, frozen, learned.params, images, reconstructed)
