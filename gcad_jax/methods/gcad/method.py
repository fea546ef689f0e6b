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

from gcad_jax.core import checks, errors
from gcad_jax.core.axes import mean_over_batch
from gcad_jax.core.types import (
    COMPUTE_TYPES,
    AnomalyMaps,
    Array,
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
from gcad_jax.models.global_encoder import GlobalEncoder
from gcad_jax.models.layers.init import imagenet_normalized, scaled
from gcad_jax.models.layers.skip_fading import fades, skip_weights
from gcad_jax.models.patch_descriptor import BORDERS, PatchDescriptor
from gcad_jax.models.patch_layers import STUDENT_TEACHER
from gcad_jax.models.unet import UNet
from gcad_jax.models.upsampler import Upsampler

# The networks that each branch trains, in the order of their keys.
TRAINED = {"E_glo": "A_glo", "U": "A_glo", "R_loc": "A_loc", "R_glo": "A_glo"}
BRANCHES = ("A_loc", "A_glo")
REGRESSION, RECONSTRUCTION = "regression", "reconstruction"
FEATURES, IMAGE = "E_loc", "image"


@dataclasses.dataclass(eq=False)
class GCAD:
    """Hyper-parameters of GCAD; defaults are the paper's (Section 5.2).

    image_size: side of the square input, a multiple of 32 (pixels) [P 5.2].
    epochs: passes over the training images (epochs) [P 5.2].
    batch_size: examples of an update; 1 is what Student-Teacher uses at the same rate
        and decay (images) [ours: P 5.2 does not say].
    P: receptive fields, of 17, 33, 65; a model for each (pixels) [P 5.2].
    d_loc: depth of E_loc (features) [P 5.2].
    d_glo: depth of E_glo (features) [P 5.2].
    g: size of the global context vector (features) [P 5.2].
    branches: whose maps are summed; one of them alone is trained alone [P 4; alone in P
        Fig. 12].
    A_glo_from: "regression": where R_glo misses E_glo; or the ablation
        "reconstruction": where U misses what it was taught [P 4; P Fig. 12].
    distilled: what U is taught: "E_loc" (Eq. 3), or for an ablation "image", the input
        itself (Eq. 6) [P 4; P Fig. 14].
    width: factor on every hidden width of E_glo, U, R_loc and R_glo [ours].
    E_loc_width: the same of E_loc, as in its weights [ours].
    E_glo_widths: channels of the five halvings of E_glo, before the factor (channels)
        [ours, as in networks of the same group].
    U_widths: those of the first two of U's three 1 x 1 convolutions, before the factor
        (channels) [ours: P 5.2 names their number].
    slope: of every LeakyReLU below 0 [ours, as in Student-Teacher's networks].
    R_glo_start: what passes before R_glo is trained; 50 of 500 (fraction of the epochs)
        [P 5.2].
    skip_end: what passes until the skips have faded; 100 of 500 (fraction of the
        epochs) [P 5.2].
    joint_ramp: stretch over which the gradient of L_glo into E_glo rises from 0 to 1
        once R_glo is trained; 0, at once, is the paper's (fraction of the epochs) [P 4;
        ours where above 0].
    skip_schedule: how the skips fade: "sequential", one after the other, the highest
        resolution first; "staggered", all from the start, ending one after the other;
        or "overlapping" [ours: P 5.2 gives first and last epoch, and the order].
    learning_rate: Adam's rate at the beginning [P 5.2].
    final_learning_rate: the fraction of it at the end of a half-cosine decay; 1 keeps
        the rate constant [ours: P 5.2 names the initial rate alone].
    weight_decay: L2 added to the gradient before Adam, as PyTorch does [P 5.2].
    teacher: weights of E_loc: "shipped" with the package, "random", or the path of a
        weights file with {p} for the receptive field [ours: the paper's were never
        published].
    teacher_seed: seed of the random teacher [ours].
    E_loc_arch: "student_teacher", the paper's, or a patch description network of
        EfficientAD (arXiv 2303.14535), "pdn_small" or "pdn_medium", with P (33,) and
        d_loc 384; it keeps its published widths and ReLU, whatever E_loc_width and
        slope are, and its weights come from `gcad_jax.convert` [P 5.2; arXiv
        2303.14535].
    border: what E_loc sees outside the image: "zero", "reflect" or "edge" [ours].
    p65_conv3: width of the third convolution of E_loc with p = 65, whose published
        table contradicts itself (channels) [ours].
    precision: of the networks' arithmetic, "float32" or "bfloat16"; parameters, losses
        and scores are float32 [ours].
    augmented: train on augmented images [P 5.1].
    inference_batch_size: size of one call outside training (images) [ours].
    """

    title: ClassVar[str] = "GCAD"
    channels: ClassVar[int] = 3
    samples_per_epoch: ClassVar[int | None] = None

    image_size: int = 256
    epochs: int = 500
    batch_size: int = 1
    P: tuple[int, ...] = (17, 33)
    d_loc: int = 128
    d_glo: int = 10
    g: int = 32
    branches: tuple[str, ...] = BRANCHES
    A_glo_from: str = REGRESSION
    distilled: str = FEATURES
    width: float = 1.0
    E_loc_width: float = 1.0
    E_glo_widths: tuple[int, ...] = (32, 32, 64, 64, 128)
    U_widths: tuple[int, ...] = (64, 128)
    slope: float = 5e-3
    R_glo_start: float = 0.1
    skip_end: float = 0.2
    joint_ramp: float = 0.0
    skip_schedule: str = "sequential"
    learning_rate: float = 1e-4
    final_learning_rate: float = 1.0
    weight_decay: float = 1e-5
    teacher: str = teachers.SHIPPED
    teacher_seed: int = 0
    E_loc_arch: str = STUDENT_TEACHER
    border: str = "zero"
    p65_conv3: int = 256
    precision: str = "float32"
    augmented: bool = True
    inference_batch_size: int = 8

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        checks.multiple_of("image_size", self.image_size, 32)
        for field in ("epochs", "batch_size", "d_loc", "d_glo", "g", "width"):
            checks.positive(field, getattr(self, field))
        for field in ("E_loc_width", "learning_rate", "inference_batch_size"):
            checks.positive(field, getattr(self, field))
        if self.branches not in (BRANCHES, *((branch,) for branch in BRANCHES)):
            raise errors.UserError(
                f"branches is {self.branches}; allowed are {BRANCHES}, "
                f"{BRANCHES[:1]} and {BRANCHES[1:]}."
            )
        checks.one_of("A_glo_from", self.A_glo_from, (REGRESSION, RECONSTRUCTION))
        checks.one_of("distilled", self.distilled, (FEATURES, IMAGE))
        checks.one_of("precision", self.precision, COMPUTE_TYPES)
        checks.one_of("skip_schedule", self.skip_schedule, fades())
        checks.one_of("border", self.border, BORDERS)
        teachers.check(self.P, self.E_loc, self.teacher)
        for field in ("weight_decay", "slope", "final_learning_rate"):
            checks.not_negative(field, getattr(self, field))
        for field in ("R_glo_start", "skip_end", "joint_ramp"):
            checks.fraction(field, getattr(self, field), "of the epochs")
        starts = round(self.R_glo_start * self.epochs)
        if "A_glo" in self.branches and starts >= self.epochs:
            raise errors.UserError(
                f"R_glo_start is {self.R_glo_start} of {self.epochs} epochs: no epoch "
                "is left to train R_glo; lower it."
            )

    # -- networks ---------------------------------------------------------------

    def E_loc(self, p: int) -> PatchDescriptor:
        """The frozen patch descriptor with receptive field p [P 4, 5.2]."""
        return PatchDescriptor(
            p,
            self.d_loc,
            width=self.E_loc_width,
            slope=self.slope,
            p65_conv3=self.p65_conv3,
            border=self.border,
            dtype=self._dtype,
            arch=self.E_loc_arch,
        )

    def E_glo(self) -> GlobalEncoder:
        """The global feature encoder, Fig. 7."""
        widths = tuple(scaled(w, self.width) for w in self.E_glo_widths)
        return GlobalEncoder(self.d_glo, self.g, widths, self.slope, self._dtype)

    def U(self) -> Upsampler:
        """Three 1 x 1 convolutions from d_glo to what is distilled [P 5.2, 5.4]."""
        widths = tuple(scaled(w, self.width) for w in self.U_widths)
        outputs = self.d_loc if self.distilled == FEATURES else self.channels
        return Upsampler(outputs, widths, self.slope, self._dtype)

    def R_loc(self) -> UNet:
        """Regression network of the local branch: U-Net with d_loc outputs."""
        return UNet(self.d_loc, self.width, dtype=self._dtype)

    def R_glo(self) -> UNet:
        """Regression network of the global branch: U-Net with d_glo outputs."""
        return UNet(self.d_glo, self.width, dtype=self._dtype)

    @property
    def trained(self) -> tuple[str, ...]:
        """The networks that the branches need, for each p."""
        return tuple(net for net, of in TRAINED.items() if of in self.branches)

    @property
    def _dtype(self) -> jnp.dtype:
        return COMPUTE_TYPES[self.precision]

    # -- before training --------------------------------------------------------

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam for each network, each with its own state."""
        optimizer = adam(self.learning_rate, self.weight_decay)
        return {f"{net}_{p}": optimizer for p in self.P for net in self.trained}

    def prepare(self, images: ImagesU8) -> Tree:
        """E_loc of each p, its features normalized over all training pixels [P 5.2].

        images: (N, S, S, 3) uint8, unaugmented. Returns {"E_loc_<p>": parameters}.
        """
        return {
            f"E_loc_{p}": teachers.prepared(
                self.E_loc(p),
                self.teacher,
                self.teacher_seed,
                images,
                self.inference_batch_size,
            )
            for p in self.P
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
            keys = jax.random.split(jax.random.fold_in(key, p), len(TRAINED))
            for net, of_net in zip(TRAINED, keys, strict=True):
                if net in self.trained:
                    params[f"{net}_{p}"] = inits[net](of_net)["params"]
        return Learned(params, {})

    def cache(self, frozen: Tree, images: Images) -> Tree:
        """E_loc(I) of each p: {"E_loc_<p>": (B, S, S, d_loc)}."""
        x = imagenet_normalized(images)
        return {
            f"E_loc_{p}": self.E_loc(p).apply({"params": frozen[f"E_loc_{p}"]}, x)
            for p in self.P
        }

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
        nets = [net for net in self.trained if with_R_glo or net != "R_glo"]
        names = [f"{net}_{p}" for p in self.P for net in nets]
        optimizers = self.optimizers()

        def update(
            state: TrainState, frozen: Tree, batch: Batch, keys: Keys
        ) -> tuple[TrainState, Metrics]:
            del keys  # GCAD draws nothing beside the augmentation
            # Skip weights change after each epoch, not within one [P 5.2].
            epoch = state.step // steps_per_epoch
            fade = self.skip_end * self.epochs
            skips = skip_weights(epoch, fade, self.skip_schedule)
            targets = batch.cached
            if targets is None:
                targets = self.cache(frozen, batch.images)
            trained = {name: state.learned.params[name] for name in names}
            gradients, metrics = jax.grad(self.loss, has_aux=True)(
                trained,
                targets,
                batch.images,
                skips if with_skips else None,
                self._joint(state.step, steps_per_epoch),
            )
            rate = cosine_decay(
                state.step, self.epochs * steps_per_epoch, self.final_learning_rate
            )
            state = apply_gradients(optimizers, state, gradients, rate)
            return state, mean_over_batch(metrics)

        return update

    def _joint(self, step: Array, steps_per_epoch: int) -> Array | float:
        """How much of L_glo's gradient E_glo gets at a step."""
        if not self.joint_ramp:
            return 1.0
        # Deviates: where few steps at a high rate stand in for many at a low one, the
        # untrained R_glo would pull E_glo to a constant from which it does not recover.
        total = self.epochs * steps_per_epoch
        return jnp.clip((step / total - self.R_glo_start) / self.joint_ramp, 0.0, 1.0)

    def loss(
        self,
        params: Mapping[str, Tree],
        targets: Mapping[str, Array],
        images: Images,
        skips: Array | None,
        joint: Array | float = 1.0,
    ) -> tuple[Array, Metrics]:
        """Eq. 5, summed over P: models of different p share nothing.

        params: of the networks in training; a term without its networks is left out.
        targets: {"E_loc_<p>": (B, S, S, d_loc)}. skips: (5,) or None, faded. joint:
            factor on the gradient of L_glo into E_glo, not on its value.
        """
        x = imagenet_normalized(images)
        metrics: Metrics = {}  # what is logged; only `terms` are optimized
        terms: list[Array] = []
        for p in self.P:
            E_loc = targets[f"E_loc_{p}"].astype(jnp.float32)
            if f"R_loc_{p}" in params:
                R_loc = self._apply(self.R_loc(), params[f"R_loc_{p}"], x)
                L_loc = metrics[f"L_loc_{p}"] = _mean_square(E_loc - R_loc)  # Eq. 2
                terms.append(L_loc)
            if f"E_glo_{p}" not in params:
                continue
            E_glo = self._apply(self.E_glo(), params[f"E_glo_{p}"], x, skips)
            U = self._apply(self.U(), params[f"U_{p}"], E_glo)
            taught = E_loc if self.distilled == FEATURES else x
            L_kd = metrics[f"L_kd_{p}"] = _mean_square(taught - U)  # Eq. 3, Eq. 6
            terms.append(L_kd)
            if f"R_glo_{p}" in params:
                R_glo = self._apply(self.R_glo(), params[f"R_glo_{p}"], x)
                # Its gradient reaches E_glo too, which is to be easily matched [P 4].
                matched = joint * E_glo + (1 - joint) * jax.lax.stop_gradient(E_glo)
                L_glo = metrics[f"L_glo_{p}"] = _mean_square(matched - R_glo)  # Eq. 4
                terms.append(L_glo)
        return jnp.sum(jnp.stack(terms)), metrics  # Eq. 5

    @staticmethod
    def _apply(net, params: Tree, *inputs) -> Array:  # type: ignore[no-untyped-def]
        return net.apply({"params": params}, *inputs).astype(jnp.float32)

    # -- scoring ----------------------------------------------------------------

    def calibrate(self, frozen: Tree, learned: Learned, images: ImagesU8) -> Tree:
        """Mu and sigma of each branch over all pixels of the good images [P 4].

        images: (V, S, S, 3) uint8. Returns {"A_loc_<p>": {"mu": (), "sigma": ()}, ...}.
        """
        maps = functools.partial(jax.jit(self._raw_maps), frozen, learned)
        return moments(in_batches(maps, images, self.inference_batch_size))

    def _raw_maps(self, frozen: Tree, learned: Learned, images: Images) -> Tree:
        """{"A_loc_<p>", "A_glo_<p>"}: squared distances (B, S, S), float32 [P 4]."""
        x, params = imagenet_normalized(images), learned.params
        taught_E_loc = self.distilled == FEATURES
        reconstructed = self.A_glo_from == RECONSTRUCTION
        needed = "A_loc" in self.branches or (reconstructed and taught_E_loc)
        features = self.cache(frozen, images) if needed else {}
        features = {name: E_loc.astype(jnp.float32) for name, E_loc in features.items()}
        maps = {}
        for p in self.P:
            if "A_loc" in self.branches:
                R_loc = self._apply(self.R_loc(), params[f"R_loc_{p}"], x)
                maps[f"A_loc_{p}"] = _distance(features[f"E_loc_{p}"], R_loc)
            if "A_glo" in self.branches:
                E_glo = self._apply(self.E_glo(), params[f"E_glo_{p}"], x, None)
                if reconstructed:
                    U = self._apply(self.U(), params[f"U_{p}"], E_glo)
                    taught = features[f"E_loc_{p}"] if taught_E_loc else x
                    maps[f"A_glo_{p}"] = _distance(taught, U)
                else:
                    R_glo = self._apply(self.R_glo(), params[f"R_glo_{p}"], x)
                    maps[f"A_glo_{p}"] = _distance(E_glo, R_glo)
        return maps

    def branch_maps(
        self, detector: DetectorState, images: Images
    ) -> Mapping[str, AnomalyMaps]:
        """Each branch, normalized and averaged over P; their sum is A."""
        raw = self._raw_maps(detector.frozen, detector.learned, images)
        return {
            branch: mean_over_scales(raw, detector.calibration, branch, self.P)
            for branch in self.branches
        }

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """A = (A_loc - mu_loc) / sigma_loc + (A_glo - mu_glo) / sigma_glo, mean over P.

        [P 4]; (B, S, S) at network size. A single branch is A by itself.
        """
        first, *others = self.branch_maps(detector, images).values()
        return sum(others, first)

    def describe(self) -> tuple[str, ...]:
        """Which teacher was used, and what differs from the paper in this run."""
        teacher = teachers.sentence("E_loc", self.teacher, self.teacher_seed)
        return teacher, settings(self)


def _distance(features: Array, regressed: Array) -> Array:
    return jnp.sum(jnp.square(features - regressed), axis=-1)


def _mean_square(difference: Array) -> Array:
    # Deviates: mean over pixels and batch, where Eqs. 2-4 sum; only the weight of the
    # L2 decay against the data term depends on it.
    return jnp.mean(jnp.square(difference))
