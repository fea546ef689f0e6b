"""Losses of the pretraining against NumPy, and the same update on several devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.colors import Colors

from gcad_jax.core.axes import BATCH
from gcad_jax.core.errors import UserError
from gcad_jax.methods.base import Batch
from gcad_jax.models.layers.init import imagenet_normalized
from gcad_jax.pretraining import losses
from gcad_jax.pretraining.distillation import Distillation
from gcad_jax.pretraining.trainable import DistillationTask
from gcad_jax.training.state import init_state

DRAW = np.random.default_rng(5)


def task_of(**settings):
    values = {"p": 17, "width": 1 / 32, "d_loc": 4, "num_steps": 4} | settings
    return DistillationTask(Distillation(**values), Colors())


def frozen(mean=0.0, std=1.0):
    return {
        "P": {"scale": jnp.float32(2.0)},
        "mean": np.full(6, mean, np.float32),
        "std": np.full(6, std, np.float32),
    }


def on_one_device(function, *values):
    """A function of this device's examples, with the batch axis that it needs."""
    mapped = jax.vmap(function, axis_name=BATCH)
    return mapped(*(jnp.asarray(v)[None] for v in values))[0]


def correlations(x):
    c = np.corrcoef(x, rowvar=False)
    return c[~np.eye(len(c), dtype=bool)]


@pytest.mark.parametrize(
    ("kind", "oracle"),
    [
        ("dims_sq", lambda x: np.sum(correlations(x) ** 2)),
        ("dims_abs", lambda x: np.sum(np.abs(correlations(x)))),
        ("dims_signed", lambda x: np.sum(correlations(x))),
        ("samples_sq", lambda x: np.sum(correlations(x.T) ** 2)),
    ],
)
def test_compactness_is_numpys_correlation(kind, oracle):
    x = DRAW.normal(size=(12, 5)).astype(np.float32)
    x[:, 1] += 0.7 * x[:, 0]
    found = on_one_device(lambda d: losses.compactness(d, kind), x)
    assert found == pytest.approx(oracle(x.astype(np.float64)), rel=1e-4)


def test_a_constant_dimension_has_finite_compactness_and_gradient():
    x = np.ones((6, 3), np.float32)
    x[:, 0] = DRAW.normal(size=6)

    def loss(d):
        return losses.compactness(d, "dims_sq")

    assert np.isfinite(on_one_device(loss, x))
    assert np.isfinite(on_one_device(jax.grad(loss), x)).all()


def test_triplet_by_hand():
    anchors = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
    positives = np.array([[1.0, 0.0], [3.0, 1.0], [0.0, 4.5]])
    # To the nearest anchor of another row: anchors 9, 9, 25; positives 4, 10, 20.25.
    rows = [7 + 1 - 4, 7 + 1 - 9, 7 + 0.25 - 20.25]
    expected = np.mean(np.maximum(0, rows))
    found = losses.triplet(jnp.asarray(anchors), jnp.asarray(positives), 7.0)
    assert found == pytest.approx(expected, rel=1e-6)


def test_distillation_term_by_hand():
    task = task_of(lambda_c=0.0, grey_probability=0.0)
    learned = task.init(jax.random.key(0))
    patches = DRAW.uniform(size=(3, 17, 17, 3)).astype(np.float32)
    d = np.asarray(task.settings.encode(learned.params["E_loc"], patches))
    assert d.shape == (3, 1, 1, 4)
    d = d[:, 0, 0]
    decode = learned.params["Decode"]
    means = patches.mean(axis=(1, 2)), (patches**2).mean(axis=(1, 2))
    goal = (2 * np.concatenate(means, axis=-1) - 0.5) / 0.25
    wrong = d @ np.asarray(decode["kernel"]) + np.asarray(decode["bias"]) - goal
    found, metrics = task.loss(
        learned.params, task.target_features(frozen(0.5, 0.25), patches), patches, None
    )
    assert found == pytest.approx((wrong**2).sum(axis=1).mean(), rel=1e-4)
    assert set(metrics) == {"L_k"}


def test_gray_patches_are_as_many_as_asked_for_and_lose_their_colors():
    windows = DRAW.uniform(size=(400, 17, 17, 3)).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 400)
    anchors, positives = task_of(grey_probability=0.25).augment(windows, keys)
    anchors = np.asarray(anchors)
    is_gray = np.ptp(anchors, axis=-1).max(axis=(1, 2)) < 1e-6
    assert positives is None
    assert 0.15 < is_gray.mean() < 0.35
    np.testing.assert_array_equal(anchors[~is_gray], windows[~is_gray])


def test_positives_are_the_patch_shifted_by_a_quarter_at_most():
    task = task_of(lambda_m=1.0, noise=0.0, grey_probability=0.0)
    assert (task.settings.shift, task.settings.cut_side) == (4, 25)
    row, column = np.mgrid[:25, :25].astype(np.float32)
    windows = np.stack([np.stack([row, column, row * 0], axis=-1)] * 200)
    keys = jax.random.split(jax.random.key(2), 200)
    anchors, positives = task.augment(jnp.asarray(windows), keys)
    np.testing.assert_array_equal(anchors[:, 0, 0, :2], np.full((200, 2), 4.0))
    starts = np.asarray(positives[:, 0, 0, :2])
    assert starts.min() == 0
    assert starts.max() == 8


@pytest.mark.parametrize(("p", "grid"), [(17, 5), (33, 3), (65, 2)])
def test_descriptors_of_a_window_are_those_of_its_patches(p, grid):
    settings = Distillation(p=p, width=1 / 32, d_loc=4, grid=grid, context=3)
    step = {17: 1, 33: 4, 65: 8}[p]
    assert settings.window == p + step * (grid - 1) + 6
    params = (
        DistillationTask(settings, Colors()).init(jax.random.key(0)).params["E_loc"]
    )
    shape = (2, settings.window, settings.window, 3)
    windows = DRAW.uniform(size=shape).astype(np.float32)
    found = jax.jit(settings.encode)(params, windows)
    assert found.shape == (2, grid, grid, 4)
    of_patch = jax.jit(functools.partial(settings.E_loc().apply, method="patch"))
    for i in range(grid):
        for j in range(grid):
            row, column = 3 + step * i, 3 + step * j
            patch = windows[:, row : row + p, column : column + p]
            alone = of_patch({"params": params}, imagenet_normalized(patch))
            np.testing.assert_allclose(found[:, i, j], alone, rtol=1e-3, atol=1e-4)
            assert settings.centers[i] == row + (p - 1) // 2


@pytest.mark.parametrize("settings", [{}, {"correlation": "dims_abs"}])
def test_an_update_is_the_same_on_one_two_and_four_devices(settings):
    """With plain SGD in the place of Adam, which would hide a wrong scale."""
    import optax

    class Plain(DistillationTask):
        def optimizers(self):
            return dict.fromkeys(("E_loc", "Decode"), optax.sgd(1e-3))

    task = Plain(task_of(**settings).settings, Colors())
    state = init_state(task, 0)
    images = DRAW.uniform(size=(8, 17, 17, 3)).astype(np.float32)
    keys = jax.random.split(jax.random.key(3), 8)
    (phase,) = task.phases(1)
    mapped = jax.jit(
        jax.vmap(phase.update, axis_name=BATCH, in_axes=(None, None, 0, 0))
    )

    def update(count):
        shared = images.reshape(count, 8 // count, 17, 17, 3)
        new, metrics = mapped(
            state, frozen(), Batch(jnp.asarray(shared)), keys.reshape(count, -1)
        )
        return jax.tree.map(lambda x: np.asarray(x[0]), (new.learned.params, metrics))

    one = update(1)
    for count in (2, 4):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6),
            one,
            update(count),
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"p": 32},
        {"batch_size": 1},
        {"grey_probability": 1.5},
        {"zoom": (16, 4)},
        {"zoom": (4,)},
        {"correlation": "dims"},
        {"lambda_k": -1.0},
        {"learning_rate": 0.0},
        {"grid": 0},
        {"context": -1},
        {"final_learning_rate": -1.0},
        {"weight_decay": -1.0},
        {"p65_conv3": 0},
        {"lambda_m": 1.0, "grid": 2},
        {"target_layers": ()},
        {"target_layers": ("stage2", "pooled"), "grid": 2},
        {"target_layers": ("logits",), "context": 4},
    ],
)
def test_fields_outside_their_range_are_named(wrong):
    with pytest.raises(UserError, match=f"method.{next(iter(wrong))}"):
        Distillation(**wrong).validate()
