"""E_loc learns to describe patches as a classification network does.

The pretraining of Student-Teacher (arXiv 1911.02357), on which the paper relies
[P 5.2]: T is the patch form of E_loc, D decodes its descriptor, P is the pretrained
network. L = lambda_k L_k + lambda_c L_c + lambda_m L_m.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gcad_jax import checks
from gcad_jax.axes import mean_over_batch
from gcad_jax.data.augment import grey
from gcad_jax.methods import optimizers as optimisers
from gcad_jax.methods.base import Batch, Learned, Phase, TrainState
from gcad_jax.methods.gcad import COMPUTE_TYPES
from gcad_jax.methods.inputs import imagenet_normalised
from gcad_jax.models.patch_descriptor import PATCH_SIZES, PatchDescriptor
from gcad_jax.types import Array, Images, Key, Keys, Metrics, Tree

CORRELATIONS = ("dims_sq", "dims_abs", "dims_signed", "samples_sq")
SMALLEST = 1e-6  # standard deviation that is divided by


@dataclasses.dataclass(eq=False)
class Distillation:
    """Hyper-parameters; defaults are those of Student-Teacher for MVTec AD.

    p, d_loc, width, slope, p65_conv3: of E_loc, as in `PatchDescriptor`.
    num_steps, batch_size: updates, and patches of one.
    lambda_k, lambda_c, lambda_m: weights of the distillation, the compactness and the
        metric term. The terms are sums over features and pairs, means over patches.
    target_layer: features of P that are learned, 'pooled' or the name of a stage,
        whose mean over the patch is taken.
    target_zoom: P sees the patch enlarged by this factor.
    standardised: features of P have mean 0 and deviation 1 over the training patches.
    correlation: of L_c: between the dimensions of the descriptors, squared, absolute
        or signed, or between the patches, squared.
    margin, noise: of L_m: delta, and the deviation of the noise on the positive patch.
    grey_probability: of a patch to lose its colours.
    zoom: smallest and largest side of the zoomed image, in patches.
    learning_rate, final_learning_rate, weight_decay: Adam's; the rate falls by half a
        cosine to the fraction `final_learning_rate`; 1 keeps it.
    precision: 'float32' or 'bfloat16'.
    """

    networks: ClassVar[tuple[str, ...]] = ("E_loc", "Decode")

    p: int = 33
    d_loc: int = 128
    width: float = 1.0
    slope: float = 5e-3
    p65_conv3: int = 256
    num_steps: int = 50_000
    batch_size: int = 64
    lambda_k: float = 1.0
    lambda_c: float = 1.0
    lambda_m: float = 0.0
    target_layer: str = "pooled"
    target_zoom: float = 1.0
    standardised: bool = False
    correlation: str = "dims_sq"
    margin: float = 1.0
    noise: float = 0.1
    grey_probability: float = 0.1
    zoom: tuple[int, int] = (4, 16)
    learning_rate: float = 2e-4
    final_learning_rate: float = 1.0
    weight_decay: float = 1e-5
    precision: str = "float32"

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        checks.one_of("method.p", str(self.p), map(str, PATCH_SIZES))
        for name in ("d_loc", "width", "num_steps", "learning_rate", "target_zoom"):
            checks.positive(f"method.{name}", getattr(self, name))
        checks.one_of("method.correlation", self.correlation, CORRELATIONS)
        checks.one_of("method.precision", self.precision, COMPUTE_TYPES)
        for name in ("lambda_k", "lambda_c", "lambda_m", "margin", "noise", "slope"):
            if getattr(self, name) < 0:
                raise checks.UserError(
                    f"method.{name} is {getattr(self, name)}; it must be 0 or more."
                )
        if self.batch_size < 2:
            raise checks.UserError(
                f"method.batch_size is {self.batch_size}; correlations need two "
                "patches or more."
            )
        if not 0 <= self.grey_probability <= 1:
            raise checks.UserError(
                f"method.grey_probability is {self.grey_probability}; it must be from "
                "0 to 1."
            )
        low, high = (*self.zoom, 0, 0)[:2]
        if len(self.zoom) != 2 or not 1 <= low <= high:
            raise checks.UserError(
                f"method.zoom is {self.zoom}; it must be two whole numbers, the "
                "smaller first and 1 or more, such as (4, 16)."
            )

    # -- networks ---------------------------------------------------------------

    def E_loc(self) -> PatchDescriptor:
        """The network that is pretrained: T in its patch form."""
        return PatchDescriptor(
            self.p,
            self.d_loc,
            width=self.width,
            slope=self.slope,
            p65_conv3=self.p65_conv3,
            dtype=COMPUTE_TYPES[self.precision],
        )

    @property
    def shift(self) -> int:
        """Largest shift in pixels of a positive patch; 0 where L_m is off."""
        return (self.p - 1) // 4 if self.lambda_m else 0

    @property
    def window(self) -> int:
        """Side of what is cut out of an image: a patch and its shifts."""
        return self.p + 2 * self.shift

    def descriptors(self, params: Tree, patches: Images) -> Array:
        """(B, p, p, 3) in [0, 1] -> (B, d_loc)."""
        net, x = self.E_loc(), imagenet_normalised(patches)
        y = net.apply({"params": params}, x, method="patch")
        return jnp.asarray(y, jnp.float32)

    def decoded(self, params: Tree, descriptors: Array) -> Array:
        """(B, d_loc) -> (B, F): one linear layer, only for pretraining."""
        return jnp.dot(descriptors, params["kernel"]) + params["bias"][None]

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam with L2 in the gradient for both networks."""
        adam = optimisers.adam(self.learning_rate, self.weight_decay)
        return dict.fromkeys(self.networks, adam)


class Target(Protocol):
    """P: a frozen network, and which of its features are learned."""

    @property
    def num_features(self) -> int:
        """F."""
        ...

    def features(self, params: Tree, patches: Images) -> Array:
        """(B, p, p, 3) in [0, 1] -> (B, F)."""
        ...


@dataclasses.dataclass(eq=False)
class Lesson:
    """What the trainer trains: the settings, and P that is learned from."""

    settings: Distillation
    target: Target

    @property
    def batch_size(self) -> int:
        """Patches of one update, over all devices."""
        return self.settings.batch_size

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """One for E_loc and one for Decode."""
        return self.settings.optimizers()

    def init(self, key: Key) -> Learned:
        """Fresh E_loc and Decode."""
        one, other = jax.random.split(key)
        E_loc = self.settings.E_loc().init(one, jnp.zeros((1, 8, 8, 3)))["params"]
        uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        shape = (self.settings.d_loc, self.target.num_features)
        Decode = {"kernel": uniform(other, shape), "bias": jnp.zeros(shape[1])}
        return Learned({"E_loc": E_loc, "Decode": Decode}, {})

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        """One, of `num_steps` updates."""
        del steps_per_epoch  # the schedule counts updates
        return (Phase("distillation", self.settings.num_steps, self._update),)

    def _update(
        self, state: TrainState, frozen: Tree, batch: Batch, keys: Keys
    ) -> tuple[TrainState, Metrics]:
        anchors, positives = self.drawn(batch.images, keys)
        goal = self.goal(frozen, anchors)
        gradients, metrics = jax.grad(self.loss, has_aux=True)(
            state.learned.params, goal, anchors, positives
        )
        rate = optimisers.cosine_decay(
            state.step, self.settings.num_steps, self.settings.final_learning_rate
        )
        optimizers = self.optimizers()
        state = optimisers.apply_gradients(optimizers, state, gradients, rate)
        return state, mean_over_batch(metrics)

    # -- patches ----------------------------------------------------------------

    def drawn(self, windows: Images, keys: Keys) -> tuple[Images, Images | None]:
        """Patches, some of them grey, and with L_m a positive of each.

        windows: (B, window, window, 3) in [0, 1]. keys: (B,).
        """
        settings, middle = self.settings, self.settings.shift

        def one(window: Array, key: Key) -> tuple[Array, Array]:
            colour, place, noise = jax.random.split(key, 3)
            is_grey = jax.random.bernoulli(colour, settings.grey_probability)
            window = jnp.where(is_grey, grey(window), window)
            shifts = jax.random.randint(place, (2,), 0, 2 * middle + 1)
            size = (settings.p, settings.p, 3)
            anchor = jax.lax.slice(
                window, (middle, middle, 0), (middle + size[0], middle + size[1], 3)
            )
            if not middle:
                return anchor, anchor
            near = jax.lax.dynamic_slice(window, (shifts[0], shifts[1], 0), size)
            near = near + settings.noise * jax.random.normal(noise, size)
            return anchor, near

        anchors, positives = jax.vmap(one)(windows, keys)
        return anchors, positives if middle else None

    def goal(self, frozen: Tree, patches: Images) -> Array:
        """P of the patches, (B, F) float32, standardised where that is wanted."""
        goal = target_features(self.settings, self.target, frozen["P"], patches)
        return (goal - frozen["mean"][None]) / frozen["std"][None]

    # -- losses -----------------------------------------------------------------

    def loss(
        self,
        params: Mapping[str, Tree],
        goal: Array,
        anchors: Images,
        positives: Images | None,
    ) -> tuple[Array, Metrics]:
        """L over this device's patches; L_c over those of all devices.

        goal: (B, F). anchors, positives: (B, p, p, 3).
        """
        settings = self.settings
        d = settings.descriptors(params["E_loc"], anchors)
        wrong = settings.decoded(params["Decode"], d) - goal
        metrics = {"L_k": jnp.mean(jnp.sum(jnp.square(wrong), axis=-1))}
        terms = [settings.lambda_k * metrics["L_k"]]
        if settings.lambda_c:
            metrics["L_c"] = compactness(d, settings.correlation)
            terms.append(settings.lambda_c * metrics["L_c"])
        if settings.lambda_m and positives is not None:
            near = settings.descriptors(params["E_loc"], positives)
            metrics["L_m"] = triplet(d, near, settings.margin)
            terms.append(settings.lambda_m * metrics["L_m"])
        return jnp.sum(jnp.stack(terms)), metrics


def target_features(
    settings: Distillation, target: Target, params: Tree, patches: Images
) -> Array:
    """P of the patches, enlarged by `target_zoom`; (B, F) float32, no gradient."""
    if settings.target_zoom != 1:
        side = round(settings.target_zoom * settings.p)
        shape = (patches.shape[0], side, side, 3)
        patches = jax.image.resize(patches, shape, "bilinear")
    features = target.features(params, patches).astype(jnp.float32)
    return jax.lax.stop_gradient(features)


def compactness(descriptors: Array, kind: str) -> Array:
    """L_c: correlations that should vanish, summed over pairs; () float32.

    descriptors: (B, d) of this device. Correlations between dimensions are those over
    the whole batch, of all devices; those between patches are within a device.
    """
    # Deviates: the publication sums correlations without square or magnitude, which has
    # no useful minimum; those of the dimensions, squared, are the default.
    if kind == "samples_sq":
        c = _correlation(descriptors.T, lambda x: x)
    else:
        c = _correlation(descriptors, mean_over_batch)
    between = c * (1 - jnp.eye(c.shape[0]))
    powers = {"dims_abs": jnp.abs, "dims_signed": lambda x: x}
    return jnp.sum(powers.get(kind, jnp.square)(between))


def _correlation(samples: Array, mean: Callable[[Array], Array]) -> Array:
    """(n, d) -> (d, d), moments averaged by `mean` too."""
    centred = samples - mean(jnp.mean(samples, axis=0))[None]
    covariance = mean(centred.T @ centred / samples.shape[0])
    std = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance), SMALLEST**2))
    return covariance / (std[:, None] * std[None])


def triplet(anchors: Array, positives: Array, margin: float) -> Array:
    """L_m: each patch nearer to its positive than to any other; () float32.

    anchors, positives: (B, d); row i of both shows the same place. A negative is the
    nearest patch of another row of this device.
    """
    near = jnp.sum(jnp.square(anchors - positives), axis=-1)
    others = jnp.where(jnp.eye(len(anchors), dtype=bool), jnp.inf, 0.0)
    far = [
        jnp.min(_distances(x, anchors) + others, axis=-1) for x in (anchors, positives)
    ]
    return jnp.mean(jnp.maximum(0.0, margin + near - jnp.minimum(*far)))


def _distances(a: Array, b: Array) -> Array:  # (n, d), (m, d) -> (n, m)
    return jnp.sum(jnp.square(a[:, None] - b[None]), axis=-1)
