"""E_loc learns to describe patches as a classification network does.

The pretraining of Student-Teacher (arXiv 1911.02357), on which the paper relies
[P 5.2]: T is the patch form of E_loc, D decodes its descriptor, P is the pretrained
network. L = lambda_k L_k + lambda_c L_c + lambda_m L_m.

There P describes each patch alone. With `grid` and `context` it describes a whole
window at once, as classification networks were trained to, and T learns the features
that P has at the center of each of many patches.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gcad_jax.core import fields
from gcad_jax.core.axes import mean_over_batch
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import (
    COMPUTE_TYPES,
    Array,
    Features,
    Images,
    Key,
    Keys,
    Metrics,
    Tree,
)
from gcad_jax.data.input.augment import gray
from gcad_jax.methods.base import Batch, Learned, Phase, TrainState
from gcad_jax.methods.common.optimizers import adam, apply_gradients, cosine_decay
from gcad_jax.models.layers.init import imagenet_normalized
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.models.patch_layers import PATCH_SIZES, stride
from gcad_jax.pretraining.targets import Target

CORRELATIONS = ("dims_sq", "dims_abs", "dims_signed", "samples_sq")
EPS = 1e-6  # standard deviation that is divided by


@dataclasses.dataclass(eq=False)
class Distillation:
    """Hyper-parameters; defaults are those of Student-Teacher for MVTec AD."""

    networks: ClassVar[tuple[str, ...]] = ("E_loc", "Decode")

    p: int = fields.field(
        33,
        "receptive field of E_loc, taken from `P` of the config (pixels) [P 5.2]",
        fields.choices(*PATCH_SIZES),
    )
    d_loc: int = fields.field(
        128, "depth of E_loc (features) [arXiv 1911.02357]", fields.CHANNELS
    )
    width: float = fields.field(
        1.0, "factor on the hidden widths of E_loc [ours]", fields.FACTOR
    )
    slope: float = fields.field(
        5e-3, "of every LeakyReLU below 0 [arXiv 1911.02357]", fields.NOT_NEGATIVE
    )
    p65_conv3: int = fields.field(
        256,
        "width of the third convolution with p = 65, whose published table contradicts "
        "itself (channels) [ours]",
        fields.CHANNELS,
    )
    num_steps: int = fields.field(
        50_000, "length of the training (updates) [arXiv 1911.02357]", fields.POSITIVE
    )
    batch_size: int = fields.field(
        64,
        "size of an update (windows) [arXiv 1911.02357]",
        fields.Allowed(
            at_least=2,
            at_most=2**16,
            reason="no device holds as many windows",
            too_low="correlations need two patches or more",
        ),
    )
    grid: int = fields.field(
        1,
        "descriptors along a side of a window; 1, a window is one patch [ours]",
        fields.Allowed(
            above=0, at_most=1024, reason="windows would be larger than images"
        ),
    )
    context: int = fields.field(
        0,
        "what lies around the patches of a window, seen by P alone (pixels) [ours]",
        fields.Allowed(
            at_least=0,
            at_most=fields.SIDE,
            reason="windows would be larger than images",
        ),
    )
    lambda_k: float = fields.field(
        1.0,
        "weight of the distillation. This term and the next two are sums over features "
        "and pairs, means over patches [arXiv 1911.02357]",
        fields.NOT_NEGATIVE,
    )
    lambda_c: float = fields.field(
        1.0, "weight of the compactness [arXiv 1911.02357]", fields.NOT_NEGATIVE
    )
    lambda_m: float = fields.field(
        0.0, "weight of the metric term [arXiv 1911.02357]", fields.NOT_NEGATIVE
    )
    target_layers: tuple[str, ...] = fields.field(
        ("pooled",),
        "features of P that are learned, one layer after the other: names of stages, "
        "or 'pooled' where grid is 1 and context 0. There it is their mean over the "
        "patch, else their values at the centers of the patches [arXiv 1911.02357; "
        "stages are ours]",
    )
    target_zoom: float = fields.field(
        1.0,
        "P sees the window enlarged by this factor [ours]",
        fields.Allowed(
            above=0, at_most=16, reason="windows would be larger than images"
        ),
    )
    standardised: bool = fields.field(
        False,
        "features of P have mean 0 and deviation 1 over the training patches [ours]",
    )
    correlation: str = fields.field(
        "dims_sq",
        'of L_c: between the dimensions of the descriptors, "dims_sq" squared, '
        '"dims_abs" absolute or "dims_signed", or "samples_sq" between the patches, '
        "squared [ours: printed without square or magnitude]",
        fields.choices(*CORRELATIONS),
    )
    margin: float = fields.field(
        1.0, "delta of L_m, a squared distance [ours]", fields.NOT_NEGATIVE
    )
    noise: float = fields.field(
        0.1,
        "deviation of the noise on the positive patch of L_m; white is 1 (gray values) "
        "[arXiv 1911.02357, not checked]",
        fields.NOT_NEGATIVE,
    )
    grey_probability: float = fields.field(
        0.1,
        "of a patch to lose its colors [arXiv 1911.02357, not checked]",
        fields.FRACTION,
    )
    zoom: tuple[int, int] = fields.field(
        (4, 16),
        "smallest and largest side of the zoomed image (patches) [arXiv 1911.02357, "
        "not checked]",
        fields.PIXELS,
    )
    learning_rate: float = fields.field(
        2e-4, "Adam's rate at the beginning [arXiv 1911.02357]", fields.POSITIVE
    )
    final_learning_rate: float = fields.field(
        1.0,
        "the fraction of it at the end of a half-cosine decay; 1 keeps the rate "
        "constant [ours]",
        fields.NOT_NEGATIVE,
    )
    weight_decay: float = fields.field(
        1e-5,
        "L2 added to the gradient before Adam [arXiv 1911.02357]",
        fields.NOT_NEGATIVE,
    )
    precision: str = fields.field(
        "float32", "of the networks' arithmetic [ours]", fields.choices(*COMPUTE_TYPES)
    )

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        fields.validate_fields(self, "method.")
        self._check_windows()
        smallest, largest = self.zoom
        if smallest > largest:
            raise UserError(
                f"method.zoom is {self.zoom}; the smaller side comes first, such as "
                "(4, 16)."
            )

    def _check_windows(self) -> None:
        if self.grid > 1 and self.lambda_m:
            raise UserError(
                f"method.lambda_m is {self.lambda_m} and method.grid is {self.grid}; "
                "L_m compares patches of distinct images: set one of them to 0 or 1."
            )
        if not self.target_layers:
            raise UserError(
                "method.target_layers is empty; name one layer of the target or more."
            )
        if self.centers and {"pooled", "logits"} & set(self.target_layers):
            raise UserError(
                f"method.target_layers is {self.target_layers}; with grid "
                f"{self.grid} and context {self.context} the target is read at the "
                "centers of the patches, which 'pooled' and 'logits' do not have: "
                "name maps, such as ('stage2', 'stage3')."
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
    def side(self) -> int:
        """Of the patches of a window, in pixels."""
        return self.p + stride(self.p) * (self.grid - 1)

    @property
    def window(self) -> int:
        """Side of what P sees: the patches and their context."""
        return self.side + 2 * self.context

    @property
    def drawn_side(self) -> int:
        """Side of what is cut out of an image: a window and its shifts."""
        return self.window + 2 * self.shift

    @property
    def centers(self) -> tuple[int, ...] | None:
        """Rows, and columns, of a window that patches are centered on.

        None where P describes the one patch alone.
        """
        if self.grid == 1 and not self.context:
            return None
        first, step = self.context + self.p // 2, stride(self.p)
        return tuple(range(first, first + step * self.grid, step))

    def descriptors(self, params: Tree, windows: Images) -> Features:
        """(B, window, window, 3) in [0, 1] -> (B, grid, grid, d_loc)."""
        inside = slice(self.context, self.context + self.side)
        x = imagenet_normalized(windows[:, inside, inside])
        y = self.E_loc().apply({"params": params}, x, method="strided")
        return jnp.asarray(y, jnp.float32)

    def decoded(self, params: Tree, descriptors: Features) -> Features:
        """(B, grid, grid, d_loc) -> (B, grid, grid, F): a linear layer, not kept."""
        return descriptors @ params["kernel"] + _last_axis(params["bias"])

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Adam with L2 in the gradient for both networks."""
        optimizer = adam(self.learning_rate, self.weight_decay)
        return dict.fromkeys(self.networks, optimizer)


@dataclasses.dataclass(eq=False)
class DistillationTask:
    """What the trainer trains: the settings, and P that is learned from."""

    settings: Distillation
    target: Target

    @property
    def batch_size(self) -> int:
        """Windows of one update, over all devices."""
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
        rate = cosine_decay(
            state.step, self.settings.num_steps, self.settings.final_learning_rate
        )
        state = apply_gradients(self.optimizers(), state, gradients, rate)
        return state, mean_over_batch(metrics)

    # -- windows ----------------------------------------------------------------

    def drawn(self, windows: Images, keys: Keys) -> tuple[Images, Images | None]:
        """Windows, some of them gray, and with L_m a positive of each.

        windows: (B, drawn_side, drawn_side, 3) in [0, 1]. keys: (B,).
        """
        settings, middle = self.settings, self.settings.shift

        def one(window: Array, key: Key) -> tuple[Array, Array]:
            color, place, noise = jax.random.split(key, 3)
            is_gray = jax.random.bernoulli(color, settings.grey_probability)
            window = jnp.where(is_gray, gray(window), window)
            shifts = jax.random.randint(place, (2,), 0, 2 * middle + 1)
            size = (settings.window, settings.window, 3)
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

    def goal(self, frozen: Tree, windows: Images) -> Features:
        """P of the windows, standardised where that is wanted; no gradient.

        (B, window, window, 3) in [0, 1] -> (B, grid, grid, F) float32.
        """
        goal = self.target.features(frozen["P"], windows)
        goal = (goal - _last_axis(frozen["mean"])) / _last_axis(frozen["std"])
        return jax.lax.stop_gradient(goal)

    # -- losses -----------------------------------------------------------------

    def loss(
        self,
        params: Mapping[str, Tree],
        goal: Features,
        anchors: Images,
        positives: Images | None,
    ) -> tuple[Array, Metrics]:
        """L over this device's patches; L_c over those of all devices.

        goal: (B, grid, grid, F). anchors, positives: (B, window, window, 3).
        """
        settings = self.settings
        d = settings.descriptors(params["E_loc"], anchors)
        wrong = settings.decoded(params["Decode"], d) - goal
        metrics = {"L_k": jnp.mean(jnp.sum(jnp.square(wrong), axis=-1))}
        terms = [settings.lambda_k * metrics["L_k"]]
        if settings.lambda_c:
            metrics["L_c"] = compactness(flat(d), settings.correlation)
            terms.append(settings.lambda_c * metrics["L_c"])
        if settings.lambda_m and positives is not None:
            near = settings.descriptors(params["E_loc"], positives)
            metrics["L_m"] = triplet(flat(d), flat(near), settings.margin)
            terms.append(settings.lambda_m * metrics["L_m"])
        return jnp.sum(jnp.stack(terms)), metrics


def flat(features: Features) -> Array:  # (B, n, n, C) -> (B n n, C)
    """Every descriptor by itself."""
    return features.reshape(-1, features.shape[-1])


def _last_axis(vector: Array | np.ndarray) -> Array:  # (C,) -> (1, 1, 1, C)
    return jnp.asarray(vector).reshape(1, 1, 1, -1)


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
    centered = samples - mean(jnp.mean(samples, axis=0))[None]
    covariance = mean(centered.T @ centered / samples.shape[0])
    std = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance), EPS**2))
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
