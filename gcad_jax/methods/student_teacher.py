"""Student-Teacher, "Uninformed Students" (arXiv 1911.02357), as the paper runs it.

For each receptive field p an ensemble of students S_i of the teacher's architecture
regresses the teacher's descriptors T of good images [P 5.2]. A pixel is anomalous
where the students' mean misses the teacher (the regression error e) and where the
students disagree (their predictive variance v).
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from gcad_jax.core import checks, errors
from gcad_jax.core.axes import mean_over_batch
from gcad_jax.core.types import (
    COMPUTE_TYPES,
    AnomalyMaps,
    Features,
    Images,
    ImagesU8,
    Key,
    Keys,
    Metrics,
    Tree,
)
from gcad_jax.methods.base import Batch, DetectorState, Learned, Phase, TrainState
from gcad_jax.methods.common import pretrained_e_loc as teachers
from gcad_jax.methods.common.apply import in_batches
from gcad_jax.methods.common.calibration import mean_over_scales, moments
from gcad_jax.methods.common.hparams import settings
from gcad_jax.methods.common.optimizers import adam, apply_gradients, cosine_decay
from gcad_jax.models.layers.init import imagenet_normalized
from gcad_jax.models.patch_descriptor import BORDERS, PatchDescriptor


@dataclasses.dataclass(eq=False)
class StudentTeacher:
    """Hyper-parameters of Student-Teacher; defaults are the paper's (Section 5.2).

    image_size: side of the square input, a multiple of 8 (pixels) [P 5.2].
    epochs: passes over the training images (epochs) [arXiv 1911.02357; the paper does
        not say].
    batch_size: examples of an update (images) [P 5.2].
    P: receptive fields, of 17, 33, 65 (pixels) [P 5.2].
    students: of each receptive field, two or more [P 5.2].
    d_loc: length of a descriptor (features) [arXiv 1911.02357].
    E_loc_width: factor on the hidden widths of teacher and students [ours].
    slope: of every LeakyReLU below 0 [arXiv 1911.02357].
    learning_rate: Adam's rate at the beginning [P 5.2].
    final_learning_rate: the fraction of it at the end of a half-cosine decay; 1 keeps
        the rate constant [ours: P 5.2 names the initial rate alone].
    weight_decay: L2 added to the gradient before Adam, as PyTorch does [P 5.2].
    teacher: weights of T: "shipped" with the package, "random", or the path of a
        weights file with {p} for the receptive field [ours: those of the authors were
        never published].
    teacher_seed: seed of the random teacher [ours].
    border: what T and S see outside the image: "zero", "reflect" or "edge" [ours].
    p65_conv3: width of the third convolution with p = 65, whose published table
        contradicts itself (channels) [ours].
    precision: of the networks' arithmetic, "float32" or "bfloat16"; parameters, losses
        and scores are float32 [ours].
    augmented: train on augmented images; the paper does not [P 5.1].
    inference_batch_size: size of one call outside training (images) [ours].
    """

    title: ClassVar[str] = "Student-Teacher"
    channels: ClassVar[int] = 3
    samples_per_epoch: ClassVar[int | None] = None
    branches: ClassVar[tuple[str, ...]] = ("e", "v")

    image_size: int = 256
    epochs: int = 100
    batch_size: int = 1
    P: tuple[int, ...] = (17, 33, 65)
    students: int = 3
    d_loc: int = 128
    E_loc_width: float = 1.0
    slope: float = 5e-3
    learning_rate: float = 1e-4
    final_learning_rate: float = 1.0
    weight_decay: float = 1e-5
    teacher: str = teachers.SHIPPED
    teacher_seed: int = 0
    border: str = "zero"
    p65_conv3: int = 256
    precision: str = "float32"
    augmented: bool = False
    inference_batch_size: int = 4

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        checks.multiple_of("image_size", self.image_size, 8)
        for field in (
            *("epochs", "batch_size", "d_loc", "E_loc_width", "learning_rate"),
            *("inference_batch_size", "p65_conv3"),
        ):
            checks.positive(field, getattr(self, field))
        for field in ("weight_decay", "slope", "final_learning_rate"):
            checks.not_negative(field, getattr(self, field))
        if self.students < 2:
            raise errors.UserError(
                f"students is {self.students}; their variance needs 2 or more."
            )
        checks.one_of("precision", self.precision, COMPUTE_TYPES)
        checks.one_of("border", self.border, BORDERS)
        teachers.check(self.P, self.network, self.teacher)

    def network(self, p: int) -> PatchDescriptor:
        """The architecture of the teacher and of its students."""
        return PatchDescriptor(
            p,
            self.d_loc,
            width=self.E_loc_width,
            slope=self.slope,
            p65_conv3=self.p65_conv3,
            border=self.border,
            dtype=COMPUTE_TYPES[self.precision],
        )

    def names(self, p: int) -> tuple[str, ...]:
        """Of the students with receptive field p: S_<p>_1, S_<p>_2, ..."""
        return tuple(f"S_{p}_{i}" for i in range(1, self.students + 1))

    # -- before training --------------------------------------------------------

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam for each student."""
        optimizer = adam(self.learning_rate, self.weight_decay)
        return {name: optimizer for p in self.P for name in self.names(p)}

    def prepare(self, images: ImagesU8) -> Tree:
        """The teachers, their features normalized over all training pixels.

        images: (N, S, S, 3) uint8, unaugmented. Returns {"T_<p>": parameters}.
        """
        return {
            f"T_{p}": teachers.prepared(
                self.network(p),
                self.teacher,
                self.teacher_seed,
                images,
                self.inference_batch_size,
            )
            for p in self.P
        }

    def init(self, key: Key) -> Learned:
        """The students, each with random weights of its own."""
        params = {}
        image = jnp.zeros((1, 8, 8, 3))  # the parameters do not depend on its size
        for p in self.P:
            of_p = jax.random.fold_in(key, p)
            for i, name in enumerate(self.names(p)):
                variables = self.network(p).init(jax.random.fold_in(of_p, i), image)
                params[name] = variables["params"]
        return Learned(params, {})

    def cache(self, frozen: Tree, images: Images) -> Tree:
        """The teachers' descriptors: {"T_<p>": (B, S, S, d_loc)}."""
        x = imagenet_normalized(images)
        return {f"T_{p}": self._described(p, frozen[f"T_{p}"], x) for p in self.P}

    def _described(self, p: int, params: Tree, x: Images) -> Features:
        features = self.network(p).apply({"params": params}, x)
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
            targets = batch.cached
            if targets is None:
                targets = self.cache(frozen, batch.images)
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
                    _square(self._described(p, params[name], x) - targets[f"T_{p}"])
                )
                for name in self.names(p)
            ]
            losses += of_p
            metrics[f"L_{p}"] = jnp.mean(jnp.stack(of_p))
        return jnp.sum(jnp.stack(losses)), metrics

    # -- scoring ----------------------------------------------------------------

    def calibrate(self, frozen: Tree, learned: Learned, images: ImagesU8) -> Tree:
        """Mu and sigma of e and v of each p over all pixels of the good images.

        images: (V, S, S, 3) uint8. Returns {"e_<p>": {"mu": (), "sigma": ()}, ...}.
        """
        maps = functools.partial(jax.jit(self._raw_maps), frozen, learned)
        return moments(in_batches(maps, images, self.inference_batch_size))

    def _raw_maps(self, frozen: Tree, learned: Learned, images: Images) -> Tree:
        """{"e_<p>", "v_<p>"}: ||mean S - T||^2 and mean ||S||^2 - ||mean S||^2.

        (B, S, S) float32 each; means over the students.
        """
        x = imagenet_normalized(images)
        maps = {}
        for p, T in zip(self.P, self.cache(frozen, images).values(), strict=True):
            S = [self._described(p, learned.params[n], x) for n in self.names(p)]
            mean = sum(S[1:], S[0]) / len(S)
            maps[f"e_{p}"] = _square(mean - T)
            # The same as the difference of squares, which would lose its digits.
            apart = [_square(S_i - mean) for S_i in S]
            maps[f"v_{p}"] = sum(apart[1:], apart[0]) / len(S)
        return maps

    def branch_maps(
        self, detector: DetectorState, images: Images
    ) -> Mapping[str, AnomalyMaps]:
        """Error and variance, each normalized and averaged over P; their sum is A."""
        raw = self._raw_maps(detector.frozen, detector.learned, images)
        return {
            name: mean_over_scales(raw, detector.calibration, name, self.P)
            for name in self.branches
        }

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """A = (e - mu_e) / sigma_e + (v - mu_v) / sigma_v, mean over P; (B, S, S)."""
        maps = self.branch_maps(detector, images)
        return maps["e"] + maps["v"]

    def describe(self) -> tuple[str, ...]:
        """Which teacher was used, and what differs from the paper in this run."""
        teacher = teachers.sentence("Teacher", self.teacher, self.teacher_seed)
        return teacher, settings(self)


def _square(difference: Features) -> AnomalyMaps:  # (B, H, W, D) -> (B, H, W)
    return jnp.sum(jnp.square(difference), axis=-1)
