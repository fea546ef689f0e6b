"""Student-Teacher, "Uninformed Students" (arXiv 1911.02357), as the paper runs it.

For each receptive field p an ensemble of students S_i of the teacher's architecture
regresses the teacher's descriptors T of good images [P 5.2]. A pixel is anomalous
where the students' mean misses the teacher (the regression error e) and where the
students disagree (their predictive variance v).
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from gcad_jax.core import fields
from gcad_jax.core.axes import mean_over_batch
from gcad_jax.core.types import AnomalyMaps, Features, Images, Key, Keys, Metrics, Tree
from gcad_jax.methods.base import Batch, Learned, Phase, TrainState
from gcad_jax.methods.common.calibration import CalibratedBranches
from gcad_jax.methods.common.optimizers import adam, apply_gradients, cosine_decay
from gcad_jax.methods.common.pretrained_e_loc import ELocHParams
from gcad_jax.models.layers.init import imagenet_normalized


@dataclasses.dataclass(eq=False)
class StudentTeacher(ELocHParams, CalibratedBranches):
    """Student-Teacher; defaults are the paper's (Section 5.2).

    The teacher T is E_loc, and its students S_i are networks of the same architecture.
    """

    title: ClassVar[str] = "Student-Teacher"
    branches: ClassVar[tuple[str, ...]] = ("e", "v")
    E_loc_symbol: ClassVar[str] = "T"
    E_loc_role: ClassVar[str] = "Teacher"

    image_size: int = fields.changed(
        ELocHParams, "image_size", 256, fields.image_side(8)
    )
    epochs: int = fields.changed(ELocHParams, "epochs", 100)
    """Passes over the training images (epochs) [arXiv 1911.02357; the paper does not
    say]."""
    batch_size: int = fields.changed(ELocHParams, "batch_size", 1)
    augmented: bool = fields.changed(ELocHParams, "augmented", False)
    """Train on augmented images; the paper does not [P 5.1]."""
    inference_batch_size: int = fields.changed(ELocHParams, "inference_batch_size", 4)
    P: tuple[int, ...] = fields.changed(ELocHParams, "P", (17, 33, 65))
    d_loc: int = fields.changed(ELocHParams, "d_loc", 128)
    """Length of a descriptor (features) [arXiv 1911.02357]."""
    slope: float = fields.changed(ELocHParams, "slope", 5e-3)
    """Of every LeakyReLU below 0 [arXiv 1911.02357]."""
    students: int = fields.field(
        3,
        fields.Allowed(
            at_least=2,
            at_most=100,
            reason="each is a network of its own",
            too_low="their variance needs 2 or more",
        ),
    )
    """Of each receptive field [P 5.2]."""

    def names(self, p: int) -> tuple[str, ...]:
        """Of the students with receptive field p: S_<p>_1, S_<p>_2, ..."""
        return tuple(f"S_{p}_{i}" for i in range(1, self.students + 1))

    # -- before training --------------------------------------------------------

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam for each student."""
        optimizer = adam(self.learning_rate, self.weight_decay)
        return {name: optimizer for p in self.P for name in self.names(p)}

    def init(self, key: Key) -> Learned:
        """The students, each with random weights of its own."""
        params = {}
        image = jnp.zeros((1, 8, 8, 3))  # the parameters do not depend on its size
        for p in self.P:
            of_p = jax.random.fold_in(key, p)
            for i, name in enumerate(self.names(p)):
                variables = self.E_loc(p).init(jax.random.fold_in(of_p, i), image)
                params[name] = variables["params"]
        return Learned(params, {})

    def _features(self, p: int, params: Tree, x: Images) -> Features:
        features = self.E_loc(p).apply({"params": params}, x)
        return jnp.asarray(features, jnp.float32)

    # -- training ---------------------------------------------------------------

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        """One: all students of all receptive fields at once."""
        num_steps = self.epochs * steps_per_epoch
        optimizers = self.optimizers()

        def update(
            state: TrainState, frozen: Tree, batch: Batch, keys: Keys
        ) -> tuple[TrainState, Metrics]:
            del keys  # nothing is drawn beside the augmentation
            targets = self.cached_or_computed(frozen, batch)
            gradients, metrics = jax.grad(self.loss, has_aux=True)(
                state.learned.params, targets, batch.images
            )
            rate = cosine_decay(state.step, num_steps, self.final_learning_rate)
            state = apply_gradients(optimizers, state, gradients, rate)
            return state, mean_over_batch(metrics)

        return (Phase("students", num_steps, update),)

    def loss(
        self,
        params: Mapping[str, Tree],
        targets: Mapping[str, Features],
        images: Images,
    ) -> tuple[jax.Array, Metrics]:
        """(1 / wh) sum over pixels of ||S_i - T||^2, summed over all students.

        The mean over the batch, as Student-Teacher prints its loss. Students share
        nothing: each one's gradient is that of its own term. The metric of a p is
        the mean of its students.
        """
        x = imagenet_normalized(images)
        losses, metrics = [], {}
        for p in self.P:
            of_p = [
                jnp.mean(
                    _square(self._features(p, params[name], x) - targets[f"T_{p}"])
                )
                for name in self.names(p)
            ]
            losses += of_p
            metrics[f"L_{p}"] = jnp.mean(jnp.stack(of_p))
        return jnp.sum(jnp.stack(losses)), metrics

    # -- scoring ----------------------------------------------------------------

    def _raw_maps(
        self, frozen: Tree, learned: Learned, metric: Tree, images: Images
    ) -> Tree:
        """{"e_<p>", "v_<p>"}: ||mean S - T||^2 and mean ||S||^2 - ||mean S||^2.

        (B, S, S) float32 each; means over the students.
        """
        del metric  # distances are Euclidean
        x = imagenet_normalized(images)
        maps: dict[str, AnomalyMaps] = {}
        for p, T in zip(self.P, self.cache(frozen, images).values(), strict=True):
            S = [self._features(p, learned.params[n], x) for n in self.names(p)]
            mean = sum(S[1:], S[0]) / len(S)
            maps[f"e_{p}"] = _square(mean - T)
            # The same as the difference of squares, which would lose its digits.
            apart = [_square(S_i - mean) for S_i in S]
            maps[f"v_{p}"] = sum(apart[1:], apart[0]) / len(S)
        return maps


def _square(difference: Features) -> AnomalyMaps:  # (B, H, W, D) -> (B, H, W)
    return jnp.sum(jnp.square(difference), axis=-1)
