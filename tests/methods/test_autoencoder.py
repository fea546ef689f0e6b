"""AE and VAE against NumPy, their batch statistics, and the closed form of KL."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles, numpy_nets

from gcad_jax.core.errors import UserError
from gcad_jax.methods.autoencoder import AE
from gcad_jax.methods.base import Batch, DetectorState
from gcad_jax.methods.vae import VAE, kl_divergence
from gcad_jax.training.state import init_state

SIDE = 32
SLOPE = 5e-3
WIDTHS = (4, 5, 6, 7, 8)
SKIPS = np.array([0.9, 0.1, 0.6, 0.3, 0.7], np.float32)


def method(kind, **fields):
    return kind(
        **{
            "image_size": SIDE,
            "epochs": 4,
            "batch_size": 8,
            "g": 3,
            "widths": WIDTHS,
            "skip_end": 0.5,
            **fields,
        }
    )


@functools.cache
def state_of(kind):
    return jax.jit(lambda seed: init_state(method(kind), seed))(0)


@pytest.fixture(scope="module")
def images():
    return doubles.random_images(8, side=SIDE)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("kind", "parameters"),
    # E_glo with ten outputs has 1,050,090: seven outputs fewer, a scale instead of
    # nothing for each of 3 x 320 channels, and for VAE one layer to g more.
    [(AE, 1_047_459), (VAE, 1_309_635)],
)
def test_the_defaults_are_the_papers(kind, parameters):
    state = jax.eval_shape(lambda: init_state(kind(), 0))
    assert size(state.learned.params) == parameters
    assert size(state.learned.model_state) == 2 * 960
    phases = kind().phases(steps_per_epoch=20)
    assert [(p.name, p.num_steps) for p in phases] == [
        ("skips fading", 100 * 20),
        ("without skips", 400 * 20),
    ]


def normalized(x, p, s=None):
    """By its own statistics, or by running ones."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes) if s is None else s["norm"]["mean"]
    var = x.var(axis=axes) if s is None else s["norm"]["var"]
    return (x - mean) / np.sqrt(var + 1e-5) * p["norm"]["scale"] + p["norm"]["bias"]


def oracle(params, x, skips, statistics=None):
    """The reconstruction in NumPy; batch norms by `statistics` or by the batch."""
    p = jax.tree.map(np.asarray, params)
    s = {} if statistics is None else jax.tree.map(np.asarray, statistics)

    def norm(half, name, x):
        return normalized(x, p[half][name], s.get(half, {}).get(name))

    levels = []
    for i in range(5):
        x = numpy_nets.conv(x, **p["encoder"][f"conv{i}"], bias=0, stride=2, pad=1)
        x = numpy_nets.leaky_relu(norm("encoder", f"norm{i}", x), SLOPE)
        levels.append(x)
    to_g, from_g = p["encoder"]["to_g"], p["decoder"]["from_g"]["kernel"]
    g = from_g.shape[0]
    code = x.reshape(len(x), -1) @ to_g["kernel"][:, :g] + to_g["bias"][:g]
    x = (code @ from_g).reshape(x.shape)
    for i, name in zip(
        (4, 3, 2, 1, 0), ("conv3", "conv2", "conv1", "conv0", "conv_out"), strict=True
    ):
        x = numpy_nets.leaky_relu(norm("decoder", f"norm{i}", x), SLOPE)
        if skips is not None:
            skip = numpy_nets.conv(levels[i], **p["decoder"][f"skip{i}"], bias=0)
            x = x + skips[i] * norm("decoder", f"skip_norm{i}", skip)
        layer = {"bias": 0} | p["decoder"][name]
        x = numpy_nets.transposed_conv(x, **layer, stride=2, pad=1)
    return x


def losses(kind, images, num_devices):
    """Loss, statistics and gradients, with the batch split over devices."""
    this, state = method(kind), state_of(kind)
    keys = jax.random.split(jax.random.key(5), len(images))

    def split(x):
        return x.reshape(num_devices, -1, *x.shape[1:])

    def one(x, keys):
        gradients, (metrics, statistics) = jax.grad(this.loss, has_aux=True)(
            state.learned.params, state.learned.model_state, x, SKIPS, keys
        )
        mean = functools.partial(jax.lax.pmean, axis_name="batch")
        return mean(metrics), statistics, mean(gradients)

    x = jnp.asarray(images / 255.0, jnp.float32)
    outputs = jax.jit(jax.vmap(one, axis_name="batch"))(split(x), split(keys))
    return jax.tree.map(np.asarray, outputs)


@pytest.mark.parametrize("kind", [pytest.param(AE, marks=pytest.mark.long), VAE])
def test_batch_statistics_are_those_of_the_whole_batch_on_1_2_4_devices(kind, images):
    whole = losses(kind, images, 1)
    for count in (2, 4):
        parts = losses(kind, images, count)
        for device in range(count):
            jax.tree.map(
                lambda a, b, d=device: np.testing.assert_allclose(
                    a[0], b[d], rtol=1e-3, atol=1e-6
                ),
                whole,
                parts,
            )


def test_the_loss_is_the_error_of_the_network_in_numpy(images):
    metrics, statistics, _ = losses(AE, images, 1)
    x = images / 255.0
    params = state_of(AE).learned.params["AE"]
    expected = np.mean((oracle(params, x, SKIPS) - x) ** 2)
    np.testing.assert_allclose(metrics["L_rec"][0], expected, rtol=1e-3)
    first = numpy_nets.conv(
        x, np.asarray(params["encoder"]["conv0"]["kernel"]), 0, stride=2, pad=1
    )
    running = statistics["AE"]["encoder"]["norm0"]["norm"]
    np.testing.assert_allclose(  # a tenth of the batch's, nine of what it was
        running["mean"][0], 0.1 * first.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(
        running["var"][0], 0.9 + 0.1 * first.var(axis=(0, 1, 2)), rtol=1e-3
    )


@pytest.mark.parametrize("kind", [AE, VAE])
def test_the_map_is_the_squared_distance_from_the_reconstruction(kind, images):
    """With running statistics, without skips; VAE decodes the mean."""
    learned = state_of(kind).learned
    drawn = np.random.default_rng(0)
    statistics = jax.tree.map(
        lambda s: jnp.asarray(drawn.uniform(0.5, 1.5, s.shape), jnp.float32),
        learned.model_state,
    )
    detector = DetectorState({}, learned.replace(model_state=statistics), {})
    x = jnp.asarray(images[:2] / 255.0, jnp.float32)
    y = oracle(
        learned.params[kind.title], images[:2] / 255.0, None, statistics[kind.title]
    )
    expected = np.sum((images[:2] / 255.0 - y) ** 2, axis=-1)
    found = jax.jit(method(kind).anomaly_map)(detector, x)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_without_skips_their_statistics_stay(images):
    """And those of the rest do not."""
    state = state_of(AE)
    phase = method(AE).phases(1)[-1]
    update = jax.jit(
        jax.vmap(
            phase.update, in_axes=(None, None, 0, 0), out_axes=None, axis_name="batch"
        )
    )
    x = jnp.asarray(images[None] / 255.0, jnp.float32)
    after, _ = update(state, {}, Batch(x), jax.random.split(state.key, 8)[None])
    old = state.learned.model_state["AE"]["decoder"]
    new = after.learned.model_state["AE"]["decoder"]
    assert set(old) == set(new)
    for name in old:
        same = np.array_equal(old[name]["norm"]["mean"], new[name]["norm"]["mean"])
        assert same == name.startswith("skip"), name


def test_kl_is_that_of_the_definition():
    """Against the integral of q log(q / p) over a fine grid, summed over dimensions."""
    mean, deviation = (
        np.array([[0.3, -1.2], [0.0, 2.0]]),
        np.array([[0.5, 1.7], [1, 1]]),
    )
    z = np.linspace(-20, 20, 200_001)[:, None, None]

    def log_density(z, mean, deviation):
        scaled = (z - mean) / deviation
        return -(scaled**2) / 2 - np.log(deviation * np.sqrt(2 * np.pi))

    q = log_density(z, mean, deviation)
    integral = np.sum(np.exp(q) * (q - log_density(z, 0, 1)), axis=0) * 40 / 200_000
    found = kl_divergence(jnp.asarray(mean), jnp.asarray(2 * np.log(deviation)))
    np.testing.assert_allclose(found, integral.sum(axis=1), rtol=1e-5)


def test_the_loss_of_vae_is_the_negative_evidence_bound(images):
    """Divided by N / 2: mean squared error and 2 / N of the divergence."""
    params = state_of(VAE).learned.params

    def loss(weight, x, keys):
        this = method(VAE, kl_weight=weight)
        statistics = state_of(VAE).learned.model_state
        return this.loss(params, statistics, x, SKIPS, keys)

    @jax.jit
    def both(*given):
        return [
            jax.vmap(functools.partial(loss, weight), axis_name="batch")(*given)
            for weight in (3.0, 0.0)
        ]

    x = jnp.asarray(images[None] / 255.0, jnp.float32)
    keys = jax.random.split(jax.random.key(5), 8)[None]
    (total, (metrics, _)), (free, _) = both(x, keys)
    values = SIDE * SIDE * 3
    np.testing.assert_allclose(
        total, metrics["L_rec"] + 3 * 2 / values * metrics["L_KL"], rtol=1e-6
    )
    assert metrics["L_KL"] > 0
    np.testing.assert_allclose(free, metrics["L_rec"], rtol=1e-6)


def test_vae_draws_its_code_and_ae_does_not(images):
    x = jnp.asarray(images[None] / 255.0, jnp.float32)

    def found(kind):
        """By keys 1 and 2."""
        this, learned = method(kind), state_of(kind).learned
        loss = jax.jit(
            jax.vmap(
                lambda x, k: this.loss(
                    learned.params, learned.model_state, x, SKIPS, k
                )[0],
                axis_name="batch",
            )
        )
        keys = [jax.random.split(jax.random.key(key), 8)[None] for key in (1, 2)]
        return [float(loss(x, k)[0]) for k in keys]

    one, other = found(VAE)
    assert one != other
    one, other = found(AE)
    assert one == other


@pytest.mark.parametrize(
    ("kind", "field", "value", "says"),
    [
        (AE, "image_size", 100, "multiple of 32"),
        (AE, "widths", (4, 4), "5 widths"),
        (AE, "skip_end", 1.5, "fraction of the epochs"),
        (AE, "skip_schedule", "fast", "sequential"),
        (AE, "g", 0, "g is 0"),
        (VAE, "kl_weight", -1.0, "0 or more"),
    ],
)
def test_a_field_outside_its_range_is_named(kind, field, value, says):
    with pytest.raises(UserError, match=says):
        kind(**{field: value}).validate()
