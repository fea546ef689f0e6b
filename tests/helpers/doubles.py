"""A method that compiles in a moment, its data, and what tests of training share."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gcad_jax.core.axes import BATCH, SEED, mean_over_batch
from gcad_jax.data.dataset import Category
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.methods.base import Learned, Phase
from gcad_jax.methods.common.optimizers import apply_gradients
from gcad_jax.training.options import LoopOptions
from gcad_jax.training.parallel.choose_layout import LAYOUTS
from gcad_jax.training.state import init_state, stack
from gcad_jax.training.step import Resources, StepOptions, make_step

SIDE, OUTPUTS = 4, 3
PIXELS = SIDE * SIDE * 3
JITTERED = Augmentation(
    vertical_flip=True, horizontal_flip=True, rotation_degrees=20.0, jitter=0.3
)
IDENTITY = Augmentation()
ADDED = 2.0  # of the noise that `Linear` draws for each example


def momentum() -> optax.GradientTransformation:
    """Linear in the gradient, so that a wrong scale shows; with a state to save."""
    return optax.sgd(0.05, momentum=0.9)


@dataclasses.dataclass(eq=False)
class Linear:
    """Regresses a fixed linear function of the image plus noise of its own keys.

    "slow" is trained in the second phase only, like R_glo. `traces` counts how often
    Python runs an update, which compiled code does not. nan_at: the update, counted
    from 1, whose loss is not a number.
    """

    image_size: int = SIDE
    channels: int = 3
    augmented: bool = True
    batch_size: int = 4
    inference_batch_size: int = 4
    epochs: int = 5
    samples_per_epoch: int | None = None
    nan_at: int = 0
    traces: list[str] = dataclasses.field(default_factory=list)

    def validate(self):
        pass

    def optimizers(self):
        return {"fast": momentum(), "slow": momentum()}

    def prepare(self, images):
        del images
        draw = np.random.default_rng(3).normal
        return {"teacher": jnp.asarray(draw(size=(PIXELS, OUTPUTS)), jnp.float32)}

    def init(self, key):
        fast, slow = jax.random.split(key)
        shape = (PIXELS, OUTPUTS)
        params = {
            "fast": {"kernel": jax.random.normal(fast, shape)},
            "slow": {"kernel": jax.random.normal(slow, shape)},
        }
        return Learned(params, {})

    def cache(self, frozen, images):
        return {"teacher": images.reshape(len(images), -1) @ frozen["teacher"]}

    def phases(self, steps_per_epoch):
        return (
            Phase("fast", 2 * steps_per_epoch, self.update_of("fast")),
            Phase("both", (self.epochs - 2) * steps_per_epoch, self.update_of("both")),
        )

    def update_of(self, phase):
        def update(state, frozen, batch, keys):
            self.traces.append(phase)
            targets = batch.cached or self.cache(frozen, batch.images)
            noise = jax.vmap(lambda key: jax.random.normal(key, (OUTPUTS,)))(keys)
            x = batch.images.reshape(len(batch.images), -1)

            def loss(params):
                total, metrics = jnp.float32(0), {}
                for name in params:
                    y = x @ params[name]["kernel"]
                    wrong = y - targets["teacher"] - ADDED * noise
                    metrics[f"L_{name}"] = jnp.mean(jnp.square(wrong))
                    total += metrics[f"L_{name}"]
                return total, metrics

            names = ("fast",) if phase == "fast" else ("fast", "slow")
            trained = {name: state.learned.params[name] for name in names}
            gradients, metrics = jax.grad(loss, has_aux=True)(trained)
            bad = state.step + 1 == self.nan_at
            metrics["L_fast"] = jnp.where(bad, jnp.nan, metrics["L_fast"])
            state = apply_gradients(self.optimizers(), state, gradients)
            return state, mean_over_batch(metrics)

        return update


class Silent(list):
    """A list that stays empty: fields of a method do not change."""

    def append(self, item):
        pass


@dataclasses.dataclass(eq=False)
class Scored(Linear):
    """`Linear` with a score, as a study needs it."""

    title: ClassVar[str] = "Double"
    branches: ClassVar[tuple[str, ...]] = ()
    precision: str = "float32"
    traces: list[str] = dataclasses.field(default_factory=Silent)

    def calibrate(self, frozen, learned, images):
        return {}

    def branch_maps(self, detector, images):
        return {}

    def anomaly_map(self, detector, images):
        x = images.reshape(len(images), -1) @ detector.learned.params["fast"]["kernel"]
        return jnp.broadcast_to(x.sum(-1)[:, None, None], (len(images), SIDE, SIDE))

    def describe(self):
        return ()


DARKNESS = "darkness of the image"


@dataclasses.dataclass(eq=False)
class Judged(Scored):
    """`Scored` with an image score of its own, that its map says nothing of."""

    image_score_name: ClassVar[str] = DARKNESS

    def image_scores(self, detector, images, combined):
        return 1 - images.mean(axis=(1, 2, 3))


def darkness(images):  # (N, h, w, 3) uint8
    """What `Judged` scores."""
    return 1 - np.asarray(images, np.float64).mean(axis=(1, 2, 3)) / 255


def failing_log(every):
    """`every`, in a process whose log fails, if it is the first, after 20 updates."""
    from gcad_jax.core import multihost
    from gcad_jax.core.errors import UserError
    from gcad_jax.training.logs import MetricsLog

    def write(self, step, *rest):
        if multihost.is_first() and step >= 20:
            raise UserError("the disk is full.")

    MetricsLog.write = write
    return every


def study(preset):
    """The Variation Model and `Scored` on small circles."""
    from helpers import runs

    from gcad_jax.methods.variation_model import VariationModel
    from gcad_jax.studies.grid.benchmark import Benchmark
    from gcad_jax.studies.grid.study import Cell, make_group, make_study

    cells = {
        "variation_model": Cell(method=VariationModel(image_size=32)),
        "scored": Cell(method=Scored(epochs=3)),
    }
    del preset
    return make_study(Benchmark, {"circles": make_group(runs.circles(), cells)})


def observe(state, frozen, batch, keys):
    """An update that learns nothing and shows what it was given, whole batches."""
    seen = {
        "images": batch.images,
        "noise": jax.vmap(jax.random.uniform)(keys),
    }
    gathered = jax.tree.map(lambda x: jax.lax.all_gather(x, BATCH, tiled=True), seen)
    return state.replace(step=state.step + 1), gathered


def random_images(count, seed=0, side=SIDE):
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def category(augmentation=JITTERED, count=18):
    return Category(
        dataset="double",
        name="linear",
        train=random_images(count),
        validation=random_images(3, 1),
        test=random_images(2, 2),
        test_images=(),
        augmentation=augmentation,
        complete=False,
    )


@functools.cache
def _init(method):
    return jax.jit(lambda seed: init_state(method, seed))


def states_of(method, seeds):
    return stack([_init(method)(seed) for seed in seeds])


def resources_of(method, images):
    return Resources(method.prepare(images), images, None)


def options(num_devices=1, **kwargs: Any) -> LoopOptions:
    step = StepOptions(
        kwargs.pop("map_seeds", "unroll"), kwargs.pop("steps_per_call", 1)
    )
    layout = layout_of(num_devices, kwargs.pop("kind", BATCH))
    return LoopOptions(layout, step, **{"log_every": 4, **kwargs})


def layout_of(num_devices, kind=BATCH):
    return LAYOUTS[kind](tuple(jax.devices()[:num_devices]))


@functools.cache
def _mapped(phase, augmentation, step_options, layout):
    """The one call site of pmap; cached, because compiling is what tests wait for."""
    return layout.map(make_step(phase, augmentation, step_options))


def on_devices(
    phase, augmentation, step_options, num_devices, states, resources, rows, kind=BATCH
):
    """One call: rows (K, S, B) of whole batches; states and metrics (K, S, ...)."""
    layout = layout_of(num_devices, kind)
    states, metrics = _mapped(phase, augmentation, step_options, layout)(
        layout.states_to_device(states),
        layout.replicate(resources),
        layout.examples_to_device(layout.split(rows)),
    )
    if kind == SEED:
        return as_given(layout.states_to_host(states)), layout.metrics_to_host(metrics)
    return states, metrics


def as_given(states):
    """NumPy arrays of `Layout.states_to_host` with typed keys, as steps take them."""
    return states.replace(key=jax.random.wrap_key_data(states.key))


def single_calls(
    phase, augmentation, step_options, num_devices, states, resources, rows, kind=BATCH
):
    """One call a step of rows (K, S, B); last states, all metrics, on the host."""
    metrics = []
    for i in range(len(rows)):
        states, values = on_devices(
            phase,
            augmentation,
            step_options,
            num_devices,
            states,
            resources,
            rows[i : i + 1],
            kind,
        )
        metrics.append(host(values))
    return host(states), jax.tree.map(lambda *parts: np.concatenate(parts), *metrics)


def host(tree):
    """NumPy copies; typed keys as their data."""

    def copy(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.array(leaf)

    return jax.tree.map(copy, tree)


def assert_equal(a, b):
    """Bit for bit."""
    a, b = host(a), host(b)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b, tolerance=1e-5):
    a, b = host(a), host(b)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance),
        a,
        b,
    )
