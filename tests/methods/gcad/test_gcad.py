"""GCAD against its equations: which network each loss moves, phases, scores."""

import ast
import dataclasses
import functools
import inspect
import textwrap

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gcad_jax.core.errors import UserError
from gcad_jax.methods.base import Batch, DetectorState, Learned
from gcad_jax.methods.common import optimizers, pretrained_e_loc
from gcad_jax.methods.gcad import GCAD
from gcad_jax.methods.gcad.losses import R_glo_weight, total_loss
from gcad_jax.models.io.patch_descriptors import save_descriptor
from gcad_jax.training.state import init_state

NETS = ("E_glo_17", "U_17", "R_loc_17", "R_glo_17")


@pytest.fixture(scope="module")
def method():
    return GCAD(
        image_size=32,
        epochs=10,
        batch_size=2,
        P=(17,),
        d_loc=6,
        width=1 / 16,
        E_loc_width=1 / 16,
        teacher="random",
    )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def frozen(method, images):
    return method.prepare(images)


@pytest.fixture(scope="module")
def state(method):
    return jax.jit(lambda seed: init_state(method, seed))(0)


@pytest.fixture(scope="module")
def joint(method):
    """The update of the last phase."""
    return one_device(method.phases(3)[-1].update)


@pytest.fixture(scope="module")
def detector(method, frozen, state, images):
    calibration = method.calibrate(frozen, state.learned, images)
    return DetectorState(frozen, state.learned, calibration)


@pytest.fixture(scope="module")
def maps(method, detector, images):
    """Of the branches, and A."""
    return maps_of(method, detector, images)


@pytest.fixture(scope="module")
def branches(maps):
    return maps[0]


def maps_of(method, detector, images):
    both = jax.jit(lambda d, x: (method.branch_maps(d, x), method.anomaly_map(d, x)))
    return both(detector, jnp.asarray(images / 255.0, jnp.float32))


def one_device(update):
    """The update under a batch axis of one device, without a mapped device."""

    def call(state, frozen, batch, keys):
        add = lambda tree: jax.tree.map(lambda x: x[None], tree)  # noqa: E731
        mapped = jax.vmap(update, in_axes=(None, None, 0, 0), axis_name="batch")
        return jax.tree.map(
            lambda x: x[0], mapped(state, frozen, add(batch), keys[None])
        )

    return jax.jit(call)


def moved(before, after):
    """Names of the networks of which at least one parameter changed."""
    return {
        name
        for name in before
        if any(
            bool(jnp.any(a != b))
            for a, b in zip(
                jax.tree.leaves(before[name]), jax.tree.leaves(after[name]), strict=True
            )
        )
    }


def test_default_schedule_is_50_and_100_of_500_epochs():
    phases = GCAD().phases(steps_per_epoch=335)
    assert [p.num_steps for p in phases] == [50 * 335, 50 * 335, 400 * 335]
    assert [p.name for p in phases] == [
        "global encoder, skips fading",
        "joint, skips fading",
        "joint",
    ]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0.0, 0.0, 1), (0.2, 0.1, 3), (0.1, 0.1, 2), (0.5, 1.0, 2)],
)
def test_phases_cover_all_epochs_for_any_fractions(start, end, expected):
    phases = GCAD(epochs=20, R_glo_start=start, skip_end=end).phases(3)
    assert len(phases) == expected
    assert sum(p.num_steps for p in phases) == 60


def test_R_glo_is_untouched_in_the_first_phase(method, joint, frozen, state, images):
    first = method.phases(3)[0]
    batch = Batch(jnp.asarray(images[:2] / 255.0, jnp.float32))
    keys = jax.random.split(state.key, 2)
    after, metrics = one_device(first.update)(state, frozen, batch, keys)
    assert moved(state.learned.params, after.learned.params) == set(NETS) - {"R_glo_17"}
    for a, b in zip(
        jax.tree.leaves(state.opt_state["R_glo_17"]),
        jax.tree.leaves(after.opt_state["R_glo_17"]),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert "L_glo_17" not in metrics
    later, metrics = joint(after, frozen, batch, keys)
    assert moved(after.learned.params, later.learned.params) == set(NETS)
    assert "L_glo_17" in metrics
    assert int(later.step) == 2


@pytest.fixture(scope="module")
def moved_by(method, state, frozen, images):
    """By loss, the networks that it moves."""
    x = jnp.asarray(images[:1] / 255.0, jnp.float32)

    @jax.jit
    def gradients(params):
        targets = method.cache(frozen, x)
        metrics, pull = jax.vjp(
            lambda params: total_loss(method, params, targets, x, jnp.ones(5))[1],
            params,
        )
        one = jnp.ones(())
        none = jax.tree.map(jnp.zeros_like, metrics)
        grads = {loss: pull({**none, loss: one})[0] for loss in metrics}
        return jax.tree.map(lambda gradient: jnp.any(gradient != 0), grads)

    found = jax.device_get(gradients(state.learned.params))
    return {
        loss: {net for net, tree in nets.items() if any(jax.tree.leaves(tree))}
        for loss, nets in found.items()
    }


@pytest.mark.parametrize(
    ("loss", "nets"),
    [
        ("L_loc_17", {"R_loc_17"}),  # Eq. 2
        ("L_kd_17", {"E_glo_17", "U_17"}),  # Eq. 3
        ("L_glo_17", {"E_glo_17", "R_glo_17"}),  # Eq. 4: joint, no stop-gradient
    ],
)
def test_each_loss_moves_its_networks(moved_by, loss, nets):
    assert moved_by[loss] == nets


def test_the_ramp_scales_the_pull_of_L_glo_on_E_glo_alone(
    method, state, frozen, images
):
    x = jnp.asarray(images[:1] / 255.0, jnp.float32)
    targets = jax.jit(method.cache)(frozen, x)

    @jax.jit
    def pull(joint):
        def L_glo(params):
            return total_loss(method, params, targets, x, None, joint)[1]["L_glo_17"]

        value, grads = jax.value_and_grad(L_glo)(state.learned.params)
        norms = {name: optax.tree.norm(grads[name]) for name in NETS}
        return value, norms

    (full, with_1), (quarter, with_4th), (none, with_0) = map(pull, (1.0, 0.25, 0.0))
    assert full == pytest.approx(float(quarter), rel=1e-5)
    assert full == pytest.approx(float(none), rel=1e-5)
    assert with_0["E_glo_17"] == 0
    assert with_4th["E_glo_17"] == pytest.approx(
        float(with_1["E_glo_17"]) / 4, rel=1e-4
    )
    assert with_4th["R_glo_17"] == pytest.approx(float(with_1["R_glo_17"]), rel=1e-4)


def test_the_ramp_begins_with_R_glo():
    method = GCAD(epochs=10, R_glo_start=0.2, joint_ramp=0.5)
    start, ramp = method.R_glo_start, method.joint_ramp
    factors = [
        float(R_glo_weight(jnp.int32(step), 10 * method.epochs, start, ramp))
        for step in (20, 45, 70, 99)
    ]
    assert factors == pytest.approx([0, 0.5, 1, 1])
    assert R_glo_weight(jnp.int32(0), 10, 0.1, GCAD().joint_ramp) == 1.0  # the paper's


def test_losses_are_mean_squared_errors(method, state, frozen, images):
    x = jnp.asarray(images[:2] / 255.0, jnp.float32)
    params = state.learned.params

    @jax.jit
    def losses(params):
        targets = method.cache(frozen, x)
        return targets, *total_loss(method, params, targets, x, None)

    targets, total, metrics = losses(params)
    mean, std = (
        np.array(v, np.float32).reshape(1, 1, 1, 3)
        for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    z = (np.asarray(x) - mean) / std

    @jax.jit
    def networks(params, z):
        E_glo = method.E_glo().apply({"params": params["E_glo_17"]}, z, None)
        R_glo = method.R_glo().apply({"params": params["R_glo_17"]}, z)
        R_loc = method.R_loc().apply({"params": params["R_loc_17"]}, z)
        U = method.U().apply({"params": params["U_17"]}, E_glo)
        return E_glo, R_glo, R_loc, U

    E_glo, R_glo, R_loc, U = networks(params, z)
    E_loc = np.asarray(targets["E_loc_17"])
    expected = {
        "L_loc_17": np.mean((E_loc - np.asarray(R_loc)) ** 2),
        "L_kd_17": np.mean((E_loc - np.asarray(U)) ** 2),
        "L_glo_17": np.mean((np.asarray(E_glo) - np.asarray(R_glo)) ** 2),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4)
    np.testing.assert_allclose(total, sum(expected.values()), rtol=1e-4)


def with_logged(loss, line):
    """The source of a loss with one more metric, logged where the others begin."""
    source = textwrap.dedent(inspect.getsource(loss))
    tree = ast.parse(source)
    body = tree.body[0].body
    begins = [
        place + 1
        for place, statement in enumerate(body)
        if isinstance(statement, ast.AnnAssign)
        and ast.unparse(statement).startswith("metrics:")
    ]
    assert len(begins) == 1
    body[begins[0] : begins[0]] = ast.parse(line).body
    found = {}
    exec(compile(tree, "<loss>", "exec"), dict(loss.__globals__), found)
    return found[loss.__name__]


def test_what_is_logged_beside_the_losses_is_not_optimized(
    method, state, frozen, images
):
    """One more metric, of the networks of both branches, changes no gradient."""
    x = jnp.asarray(images[:1] / 255.0, jnp.float32)
    targets, params = jax.jit(method.cache)(frozen, x), state.learned.params
    norm = "jnp.sum(jnp.square(jax.flatten_util.ravel_pytree(params)[0]))"
    logged = with_logged(total_loss, f'metrics["norm"] = {norm}')

    @functools.partial(jax.jit, static_argnums=0)
    def losses(loss, params):
        return jax.value_and_grad(loss, argnums=1, has_aux=True)(
            method, params, targets, x, jnp.ones(5)
        )

    (total, metrics), expected = losses(total_loss, params)
    (same, more), found = losses(logged, params)
    assert set(more) - set(metrics) == {"norm"}
    assert more["norm"] > 0
    assert same == pytest.approx(float(total), rel=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        found,
        expected,
    )


def test_prepared_features_have_mean_0_and_deviation_1(method, frozen, images):
    cached = jax.jit(method.cache)(frozen, jnp.asarray(images / 255.0, jnp.float32))
    features = np.asarray(cached["E_loc_17"]).reshape(-1, method.d_loc)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-3)


def test_calibrated_branches_have_mean_0_and_deviation_1(maps):
    branches, combined = maps
    for scores in branches.values():
        np.testing.assert_allclose(np.mean(scores), 0, atol=1e-3)
        np.testing.assert_allclose(np.std(scores), 1, atol=1e-3)
    np.testing.assert_allclose(
        combined, branches["A_loc"] + branches["A_glo"], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("branch", ["A_loc", "A_glo"])
def test_one_branch_alone_learns_and_scores_as_beside_the_other(
    method, joint, frozen, state, images, branches, branch
):
    alone = dataclasses.replace(method, branches=(branch,))
    nets = {"A_loc": {"R_loc_17"}, "A_glo": set(NETS) - {"R_loc_17"}}[branch]
    start = jax.jit(lambda seed: init_state(alone, seed))(0)
    assert set(start.learned.params) == set(start.opt_state) == nets
    batch = Batch(jnp.asarray(images[:2] / 255.0, jnp.float32))
    keys = jax.random.split(state.key, 2)
    both, _ = joint(state, frozen, batch, keys)
    one, metrics = one_device(alone.phases(3)[-1].update)(start, frozen, batch, keys)
    terms = {"A_loc": {"L_loc_17"}, "A_glo": {"L_kd_17", "L_glo_17"}}[branch]
    assert set(metrics) == terms
    for net in nets:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            one.learned.params[net],
            both.learned.params[net],
        )
    calibration = alone.calibrate(frozen, start.learned, images)
    detector = DetectorState(frozen, start.learned, calibration)
    of_branches, combined = maps_of(alone, detector, images)
    assert set(of_branches) == {branch}
    np.testing.assert_allclose(combined, branches[branch], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("distilled", ["E_loc", "image"])
def test_the_reconstruction_of_the_ablations(method, state, frozen, images, distilled):
    other = dataclasses.replace(
        method, A_glo_from="reconstruction", distilled=distilled
    )
    learned = jax.jit(lambda: init_state(other, 0))().learned
    if distilled == "E_loc":  # the same networks, otherwise looked at
        same = jax.tree.map(np.array_equal, learned.params, state.learned.params)
        assert all(jax.tree.leaves(same))
    x = jnp.asarray(images / 255, jnp.float32)

    @jax.jit
    def found(learned):
        targets = other.cache(frozen, x)
        _, metrics = total_loss(other, learned.params, targets, x, None)
        maps = other._raw_maps(frozen, learned, {}, x)
        return maps["A_glo_17"], targets, metrics["L_kd_17"]

    @jax.jit
    def reconstruction(params, normalized):
        E_glo = other.E_glo().apply({"params": params["E_glo_17"]}, normalized, None)
        return other.U().apply({"params": params["U_17"]}, E_glo)

    A_glo, targets, L_kd = found(learned)
    normalized = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    U = np.asarray(reconstruction(learned.params, jnp.float32(normalized)))
    taught = normalized
    if distilled == "E_loc":
        taught = np.asarray(targets["E_loc_17"])
    expected = np.square(taught - U).sum(-1)
    np.testing.assert_allclose(A_glo, expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(L_kd, np.square(taught - U).mean(), rtol=1e-4)


def test_the_local_branch_alone_is_one_phase():
    (phase,) = GCAD(branches=("A_loc",), R_glo_start=1.0).phases(7)
    assert (phase.name, phase.num_steps) == ("local", 3500)


def test_a_branch_is_the_mean_over_scales_and_A_the_sum_of_branches():
    """Of drawn maps, each brought to its own mean and deviation first."""
    draw = np.random.default_rng(0)
    names = [f"{branch}_{p}" for branch in ("A_loc", "A_glo") for p in (17, 33)]
    raw = {name: draw.normal(size=(2, 4, 4)).astype(np.float32) for name in names}
    mu, sigma = draw.uniform(1, 2, (2, len(names)))
    moments = {
        name: {"mu": np.float32(mu[i]), "sigma": np.float32(sigma[i])}
        for i, name in enumerate(names)
    }

    class Drawn(GCAD):
        def _raw_maps(self, frozen, learned, metric, images):
            return raw

    method = Drawn(image_size=32, P=(17, 33))
    detector = DetectorState({}, Learned({}, {}), moments)
    found = method.branch_maps(detector, jnp.zeros((2, 4, 4, 3)))
    one_scale = [(raw[n] - mu[i]) / sigma[i] for i, n in enumerate(names)]
    A_loc = (one_scale[0] + one_scale[1]) / 2
    A_glo = (one_scale[2] + one_scale[3]) / 2
    assert list(found) == ["A_loc", "A_glo"]
    np.testing.assert_allclose(found["A_loc"], A_loc, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["A_glo"], A_glo, rtol=1e-5, atol=1e-5)
    combined = method.anomaly_map(detector, jnp.zeros((2, 4, 4, 3)))
    np.testing.assert_allclose(combined, A_loc + A_glo, rtol=1e-5, atol=1e-5)


@pytest.mark.long
def test_scales_are_separate_models_whose_maps_are_averaged(images):
    both = GCAD(
        image_size=32,
        P=(17, 33),
        d_loc=6,
        width=1 / 16,
        E_loc_width=1 / 16,
        teacher="random",
    )
    frozen = both.prepare(images)
    learned = jax.jit(lambda seed: init_state(both, seed))(0).learned
    calibration = both.calibrate(frozen, learned, images)
    x = jnp.asarray(images / 255.0, jnp.float32)
    averaged = both.anomaly_map(DetectorState(frozen, learned, calibration), x)
    singles = []
    for p in both.P:
        single = GCAD(
            image_size=32,
            P=(p,),
            d_loc=6,
            width=1 / 16,
            E_loc_width=1 / 16,
            teacher="random",
        )
        singles.append(
            single.anomaly_map(DetectorState(frozen, learned, calibration), x)
        )
    np.testing.assert_allclose(averaged, sum(singles) / 2, rtol=1e-4, atol=1e-5)


def test_adam_is_l2_in_the_gradient():
    """Against the update rule by hand, two steps."""
    rate, decay, b1, b2, eps = 0.01, 0.1, 0.9, 0.999, 1e-8
    adam = optimizers.adam(rate, decay)
    w, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    params = jnp.asarray(w, jnp.float32)
    state = adam.init(params)
    for t in (1, 2):
        gradient = np.array([0.5, 0.0])
        g = gradient + decay * w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        updates, state = adam.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, w, rtol=1e-6)


def test_cosine_decay_at_its_ends():
    assert float(optimizers.cosine_decay(jnp.int32(0), 10, 0.1)) == pytest.approx(1)
    assert float(optimizers.cosine_decay(jnp.int32(5), 10, 0.1)) == pytest.approx(0.55)
    assert float(optimizers.cosine_decay(jnp.int32(10), 10, 0.1)) == pytest.approx(0.1)


def test_teacher_from_a_file(tmp_path, images):
    random = GCAD(
        image_size=32,
        P=(17,),
        d_loc=6,
        width=1 / 16,
        E_loc_width=1 / 16,
        teacher="random",
        teacher_seed=3,
    )
    params = pretrained_e_loc.load_weights(random.E_loc(17), "random", 3)
    save_descriptor(tmp_path / "E_loc_17.npz", params, random.E_loc(17))
    given = GCAD(
        image_size=32,
        P=(17,),
        d_loc=6,
        width=1 / 16,
        E_loc_width=1 / 16,
        teacher=str(tmp_path / "E_loc_{p}.npz"),
    )
    for a, b in zip(
        jax.tree.leaves(random.prepare(images)),
        jax.tree.leaves(given.prepare(images)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert "random" in random.describe()[0]
    assert str(tmp_path) in given.describe()[0]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("d_loc", 7, "No weights of E_loc come with the package for p = 17 and d_loc"),
        ("image_size", 100, "multiple of 32"),
        ("branches", (), r"allowed are \('A_loc', 'A_glo'\)"),
        ("branches", ("A_glo", "A_loc"), "allowed are"),
        ("E_loc_width", 0.0, "above 0"),
        ("epochs", 0, "above 0"),
        ("P", (17, 17), "distinct"),
        ("P", (18,), r"P is 18; allowed are \(17, 33, 65\)"),
        ("P", ("33",), r"P is '33'; allowed are \(17, 33, 65\)"),
        ("precision", "float16", "bfloat16"),
        ("R_glo_start", 1.5, "fraction"),
        ("skip_schedule", "fast", "sequential"),
        ("border", "wrap", "reflect"),
    ],
)
def test_a_field_outside_its_range_is_named(field, value, says):
    with pytest.raises(UserError, match=says):
        GCAD(**{field: value}).validate()
