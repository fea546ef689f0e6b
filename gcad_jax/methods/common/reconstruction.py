"""What AE and VAE share: one network, skips that fade, squared distances [P 5.2]."""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

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
    Key,
    Keys,
    Metrics,
    Tree,
)
from gcad_jax.methods.base import Batch, Learned, Phase, TrainState
from gcad_jax.methods.common.optimizers import (
    apply_gradients,
    cosine_decay,
    with_model_state,
)
from gcad_jax.models.autoencoder import Autoencoder
from gcad_jax.models.layers.init import scaled
from gcad_jax.models.layers.skip_fading import NUM_SKIPS, fades, skip_weights

Optimizers = Mapping[str, optax.GradientTransformation]
# (params, statistics, images, skips, keys) -> loss, (metrics, new statistics)
Loss = Callable[
    [Mapping[str, Tree], Tree, Images, Array | None, Keys],
    tuple[Array, tuple[Metrics, Tree]],
]


class Settings(Protocol):
    """The fields that both methods have."""

    image_size: int
    epochs: int
    batch_size: int
    g: int
    width: float
    widths: tuple[int, ...]
    slope: float
    skip_end: float
    skip_schedule: str
    learning_rate: float
    final_learning_rate: float
    weight_decay: float
    precision: str
    inference_batch_size: int


def validate(settings: Settings) -> None:
    """Raises UserError for a field outside its range."""
    checks.multiple_of("image_size", settings.image_size, 32)
    for field in (
        *("epochs", "batch_size", "g", "width", "learning_rate"),
        "inference_batch_size",
    ):
        checks.positive(field, getattr(settings, field))
    for field in ("weight_decay", "slope", "final_learning_rate"):
        checks.not_negative(field, getattr(settings, field))
    checks.fraction("skip_end", settings.skip_end, "of the epochs")
    checks.one_of("skip_schedule", settings.skip_schedule, fades())
    checks.one_of("precision", settings.precision, COMPUTE_TYPES)
    if len(settings.widths) != NUM_SKIPS:
        raise errors.UserError(
            f"widths is {settings.widths}; it must name {NUM_SKIPS} widths."
        )


def network(settings: Settings, variational: bool) -> Autoencoder:
    """E_glo's network with the image as its result."""
    widths = tuple(scaled(w, settings.width) for w in settings.widths)
    dtype = COMPUTE_TYPES[settings.precision]
    return Autoencoder(settings.g, widths, settings.slope, variational, dtype=dtype)


def init(net: Autoencoder, name: str, image_size: int, key: Key) -> Learned:
    """The network and its running batch statistics, under its name."""
    image = jnp.zeros((1, image_size, image_size, net.channels))
    variables = net.init(key, image, jnp.ones(NUM_SKIPS))
    return Learned({name: variables["params"]}, {name: variables["batch_stats"]})


def phases(
    settings: Settings, optimizers: Optimizers, loss: Loss, steps_per_epoch: int
) -> tuple[Phase, ...]:
    """While the skips fade, and without them [P 5.2]; one of them may have no steps.

    optimizers, loss: of the method.
    """
    faded = math.ceil(settings.skip_end * settings.epochs)
    found = [
        Phase(
            title,
            epochs * steps_per_epoch,
            _update(settings, optimizers, loss, steps_per_epoch, with_skips),
        )
        for title, epochs, with_skips in (
            ("skips fading", faded, True),
            ("without skips", settings.epochs - faded, False),
        )
    ]
    return tuple(phase for phase in found if phase.num_steps)


def _update(  # type: ignore[no-untyped-def]
    settings: Settings,
    optimizers: Optimizers,
    loss: Loss,
    steps_per_epoch: int,
    with_skips: bool,
):
    def update(
        state: TrainState, frozen: Tree, batch: Batch, keys: Keys
    ) -> tuple[TrainState, Metrics]:
        del frozen
        # Skip weights change after each epoch, not within one [P 5.2].
        skips = skip_weights(
            state.step // steps_per_epoch,
            settings.skip_end * settings.epochs,
            settings.skip_schedule,
        )
        gradients, (metrics, statistics) = jax.grad(loss, has_aux=True)(
            state.learned.params,
            state.learned.model_state,
            batch.images,
            skips if with_skips else None,
            keys,
        )
        rate = cosine_decay(
            state.step, settings.epochs * steps_per_epoch, settings.final_learning_rate
        )
        state = apply_gradients(optimizers, state, gradients, rate)
        return with_model_state(state, statistics), mean_over_batch(metrics)

    return update


def reconstructed(
    net: Autoencoder,
    name: str,
    params: Mapping[str, Tree],
    statistics: Tree,
    images: Images,
    skips: Array | None,
    noise: Array | None = None,
) -> tuple[tuple[Images, Array, Array], Tree]:
    """In training: reconstruction, code and log variance, and the new statistics.

    float32; needs the axis `BATCH`. noise: (B, g), see `Autoencoder`.
    """
    variables = {"params": params[name], "batch_stats": statistics[name]}
    outputs, changed = net.apply(
        variables, images, skips, noise, True, mutable=["batch_stats"]
    )
    outputs = jax.tree.map(lambda x: x.astype(jnp.float32), outputs)
    return outputs, {name: changed["batch_stats"]}


def distance(
    net: Autoencoder, name: str, learned: Learned, images: Images
) -> AnomalyMaps:
    """Squared distance of each pixel from its reconstruction; (B, S, S) float32."""
    variables = {
        "params": learned.params[name],
        "batch_stats": learned.model_state[name],
    }
    outputs = net.apply(variables, images, None)
    return jnp.sum(jnp.square(images - outputs[0].astype(jnp.float32)), axis=-1)
