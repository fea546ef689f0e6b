"""Student-Teacher against its formulas in NumPy, and what it costs at full size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles

from gcad_jax.core.errors import UserError
from gcad_jax.methods.base import Batch, DetectorState
from gcad_jax.methods.student_teacher import StudentTeacher
from gcad_jax.training.state import init_state

SIDE = 24
PARAMETERS = {17: 2_996_480, 33: 1_616_000, 65: 2_320_640}


@pytest.fixture(scope="module")
def method():
    return StudentTeacher(
        image_size=SIDE,
        epochs=3,
        batch_size=2,
        P=(17, 65),
        d_loc=5,
        E_loc_width=1 / 16,
        teacher="random",
    )


@pytest.fixture(scope="module")
def images():
    return doubles.random_images(4, side=SIDE)


@pytest.fixture(scope="module")
def frozen(method, images):
    return method.prepare(images)


@pytest.fixture(scope="module")
def learned(method):
    return jax.jit(lambda seed: init_state(method, seed))(0).learned


@pytest.fixture(scope="module")
def update(method):
    """Of one batch on one device."""
    (phase,) = method.phases(2)
    axes = {"in_axes": (None, None, 0, 0), "out_axes": None}
    return jax.jit(jax.vmap(phase.update, **axes, axis_name="batch"))


def described(method, p, params, images):
    """(N, S, S, D) float64, by the network alone."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = ((images / 255.0 - mean) / std).astype(np.float32)
    return np.asarray(method.E_loc(p).apply({"params": params}, x), np.float64)


def test_the_defaults_are_the_papers_nine_students():
    state = jax.eval_shape(lambda: init_state(StudentTeacher(), 0))
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(tree))
        for name, tree in state.learned.params.items()
    }
    assert sizes == {
        f"S_{p}_{i}": size for p, size in PARAMETERS.items() for i in (1, 2, 3)
    }
    (phase,) = StudentTeacher().phases(steps_per_epoch=335)
    assert phase.num_steps == 100 * 335
    assert not StudentTeacher().augmented


def test_an_update_of_the_nine_fits_into_16_gb():
    """At full size, compiled for this machine and not run: state and scratch."""
    method = StudentTeacher()
    state = jax.eval_shape(lambda: init_state(method, 0))
    image = jnp.zeros((1, 8, 8, 3))
    frozen = {
        f"T_{p}": jax.eval_shape(method.E_loc(p).init, jax.random.key(0), image)[
            "params"
        ]
        for p in method.P
    }
    (phase,) = method.phases(10)
    update = jax.vmap(
        lambda state, frozen, x, keys: phase.update(state, frozen, Batch(x), keys),
        in_axes=(None, None, 0, 0),
        out_axes=None,
        axis_name="batch",
    )
    x = jax.ShapeDtypeStruct((1, 1, 256, 256, 3), jnp.float32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1)[None])
    memory = jax.jit(update).lower(state, frozen, x, keys).compile().memory_analysis()
    # Parameters, two moments each, and the teachers.
    assert memory.argument_size_in_bytes == pytest.approx(0.278e9, rel=0.01)
    assert memory.argument_size_in_bytes + memory.temp_size_in_bytes < 16e9


def test_loss_is_the_distance_summed_over_features_and_averaged_over_pixels(
    method, frozen, learned, images
):
    x = jnp.asarray(images / 255.0, jnp.float32)
    total, metrics = method.loss(learned.params, method.cache(frozen, x), x)
    expected = 0.0
    for p in method.P:
        T = described(method, p, frozen[f"T_{p}"], images)
        losses = [
            np.sum((described(method, p, learned.params[name], images) - T) ** 2)
            / (len(images) * SIDE * SIDE)
            for name in method.names(p)
        ]
        assert len(losses) == 3
        np.testing.assert_allclose(metrics[f"L_{p}"], np.mean(losses), rtol=1e-4)
        expected += np.sum(losses)
    np.testing.assert_allclose(total, expected, rtol=1e-4)


def test_error_and_variance_are_those_of_the_paper(method, frozen, learned, images):
    calibration = method.calibrate(frozen, learned, images[:2])
    detector = DetectorState(frozen, learned, calibration)
    e, v = 0.0, 0.0
    for p in method.P:
        T = described(method, p, frozen[f"T_{p}"], images)
        S = np.stack(
            [described(method, p, learned.params[n], images) for n in method.names(p)]
        )
        error = np.sum((S.mean(axis=0) - T) ** 2, axis=-1)
        variance = np.mean(np.sum(S**2, axis=-1), axis=0)
        variance -= np.sum(S.mean(axis=0) ** 2, axis=-1)
        e += (error - error[:2].mean()) / error[:2].std()
        v += (variance - variance[:2].mean()) / variance[:2].std()
    x = jnp.asarray(images / 255.0, jnp.float32)
    maps = method.branch_maps(detector, x)
    np.testing.assert_allclose(maps["e"], e / 2, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(maps["v"], v / 2, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        method.anomaly_map(detector, x), (e + v) / 2, rtol=1e-3, atol=2e-3
    )


def test_cached_targets_teach_the_same(method, update, frozen, images):
    state = jax.jit(lambda seed: init_state(method, seed))(0)
    x = jnp.asarray(images[None, :2] / 255.0, jnp.float32)
    keys = jax.random.split(state.key, 2)[None]
    targets = jax.jit(method.cache)(frozen, x[0])
    cached = jax.tree.map(lambda f: f[None], targets)
    with_cache, _ = update(state, frozen, Batch(x, cached), keys)
    without, _ = update(state, frozen, Batch(x), keys)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        with_cache.learned.params,
        without.learned.params,
    )


def test_students_that_say_what_the_teacher_says_have_no_error(method, frozen, images):
    copies = {n: frozen[f"T_{p}"] for p in method.P for n in method.names(p)}
    x = jnp.asarray(images / 255.0, jnp.float32)
    total, _ = method.loss(copies, method.cache(frozen, x), x)
    assert float(total) < 1e-8


def test_every_student_starts_and_ends_elsewhere(method, update, frozen, images):
    """Same data, other weights: else their variance would be nothing."""
    state = jax.jit(lambda seed: init_state(method, seed))(0)
    batch = Batch(jnp.asarray(images[None, :2] / 255.0, jnp.float32))
    after, _ = update(state, frozen, batch, jax.random.split(state.key, 2)[None])
    for params in (state.learned.params, after.learned.params):
        for p in method.P:
            kernels = [
                np.asarray(params[n]["conv1"]["kernel"]) for n in method.names(p)
            ]
            assert np.std(np.stack(kernels), axis=0).min() > 0


def test_a_student_learns_the_same_whoever_learns_beside_it(method, frozen, images):
    alone = dataclasses.replace(method, P=(17,))
    x = jnp.asarray(images / 255.0, jnp.float32)
    targets = method.cache(frozen, x)
    gradients = {}
    for who in (method, alone):
        params = jax.jit(lambda seed, m=who: init_state(m, seed))(0).learned.params
        gradients[who], _ = jax.jit(jax.grad(who.loss, has_aux=True))(
            params, targets, x
        )
    for name in alone.names(17):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            gradients[alone][name],
            gradients[method][name],
        )


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("students", 1, "students is 1; their variance needs 2"),
        ("image_size", 100, "multiple of 8"),
        ("P", (), "distinct"),
        ("P", (9,), r"P is 9; allowed are \(17, 33, 65\)"),
        ("d_loc", 7, "No weights of E_loc come with the package"),
        ("weight_decay", -1.0, "0 or more"),
        ("precision", "float16", "bfloat16"),
        ("border", "wrap", "reflect"),
    ],
)
def test_a_field_outside_its_range_is_named(field, value, says):
    with pytest.raises(UserError, match=says):
        StudentTeacher(**{field: value}).validate()
