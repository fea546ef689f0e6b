"""f-AnoGAN: its penalty by hand, its schedule, its networks; who moves when."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles, numpy_nets

from gcad_jax.core.errors import UserError
from gcad_jax.methods.base import Batch, DetectorState
from gcad_jax.methods.fanogan import FAnoGAN
from gcad_jax.models.fanogan import (
    WIDTHS,
    Discriminator,
    Generator,
    ImageEncoder,
    Residual,
)
from gcad_jax.training.state import init_state

SIDE = 16


@pytest.fixture(scope="module")
def method():
    return FAnoGAN(
        image_size=SIDE,
        epochs=2,
        batch_size=4,
        samples_per_epoch=10,
        critic_updates=3,
        encoder_updates=7,
        latent=5,
        widths=(4, 6),
    )


@pytest.fixture(scope="module")
def images():
    return doubles.random_images(4, side=SIDE)[..., :1]


@pytest.fixture(scope="module")
def state(method):
    return jax.jit(lambda seed: init_state(method, seed))(0)


def keys_of(state, count=4):
    return jax.random.split(state.key, count)


def under_batch(function, *inputs):
    """On one device: the axis `batch` of length 1."""
    mapped = jax.vmap(function, axis_name="batch")
    outputs = mapped(*(x[None] for x in inputs))
    return jax.tree.map(lambda x: x[0], outputs)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def block(i, o, up):
    inner = o if up else i
    convolutions = 9 * i * inner + 9 * inner * o + o + i * o + o
    return convolutions + 2 * i + 2 * inner


def test_the_defaults_are_the_papers():
    method = FAnoGAN()
    state = jax.eval_shape(lambda: init_state(method, 0))
    up = [(512, 512), (512, 256), (256, 128), (128, 64)]
    down = [(64, 128), (128, 256), (256, 512), (512, 512)]
    G = 129 * 8192 + sum(block(i, o, True) for i, o in up) + 2 * 64 + 9 * 64 + 1
    features = 9 * 64 + 64 + sum(block(i, o, False) for i, o in down)
    assert {n: size(p) for n, p in state.learned.params.items()} == {
        "G": G,
        "D": features + 8193,
        "E": features + 8193 * 128,
    }
    assert (method.samples_per_epoch, method.batch_size) == (10_000, 64)
    generator, encoder = method.phases(steps_per_epoch=156)
    assert generator.num_steps == 15_600
    assert encoder.num_steps == 50_000
    assert method.critic_updates == 5


def test_shapes_at_full_size():
    key = jax.random.key(0)
    z, x = jnp.zeros((2, 128)), jnp.zeros((2, 64, 64, 1))

    def shape(net, *inputs):
        return jax.eval_shape(lambda: net.init_with_output(key, *inputs)[0])

    assert shape(Generator(), z, False).shape == (2, 64, 64, 1)
    score, f = shape(Discriminator(), x)
    assert (score.shape, f.shape) == ((2,), (2, 8192))
    assert shape(ImageEncoder(), x, False).shape == (2, 128)
    assert WIDTHS == (64, 128, 256, 512)


def test_the_penalty_is_that_of_finite_differences(method, state, images):
    """|grad D| at x^ by central differences, every pixel in turn, in float64."""
    x = jnp.asarray(images[:1] / 127.5 - 1, jnp.float32)
    keys = keys_of(state, 1)
    learned = state.learned

    def loss(x, keys):
        return method.critic_loss(learned.params["D"], learned, x, keys)

    total, metrics = jax.jit(lambda x, keys: under_batch(loss, x, keys))(x, keys)
    z = jax.random.normal(jax.random.fold_in(keys[0], 0), (5,))
    variables = {"params": learned.params["G"], "batch_stats": learned.model_state["G"]}
    draw = functools.partial(method.generator().apply, mutable=["batch_stats"])
    drawn, _ = jax.jit(lambda z: under_batch(lambda z: draw(variables, z, True), z))(
        z[None]
    )
    mix = float(jax.random.uniform(jax.random.fold_in(keys[0], 2)))
    between = np.asarray(x + mix * (drawn - x), np.float64)[0]
    with jax.enable_x64(True):
        D = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), learned.params["D"])
        net = Discriminator(method.widths, jnp.float64)
        score = jax.jit(lambda x: net.apply({"params": D}, x)[0])
        step = 1e-6
        offsets = np.eye(SIDE * SIDE).reshape(-1, SIDE, SIDE, 1) * step
        slopes = (score(between + offsets) - score(between - offsets)) / (2 * step)
        norm = float(np.linalg.norm(slopes))
        difference = float(
            score(jnp.asarray(x, jnp.float64))[0]
            - score(jnp.asarray(drawn, jnp.float64))[0]
        )
    assert float(metrics["L_penalty"]) == pytest.approx((norm - 1) ** 2, rel=1e-3)
    assert float(metrics["L_wasserstein"]) == pytest.approx(
        difference, rel=1e-3, abs=1e-4
    )
    assert float(total) == pytest.approx(10 * (norm - 1) ** 2 - difference, rel=1e-3)


def test_the_generator_moves_with_every_third_update_of_the_critic(
    method, state, images
):
    """And its running statistics with it."""
    generator, _ = method.phases(1)
    update = jax.jit(
        jax.vmap(
            generator.update,
            in_axes=(None, None, 0, 0),
            out_axes=None,
            axis_name="batch",
        )
    )
    batch = Batch(jnp.asarray(images[None] / 255.0, jnp.float32))
    moved = []
    for step in range(6):
        after, _ = update(state, {}, batch, keys_of(state)[None])
        assert int(after.step) == step + 1

        def changed(get, before=state, after=after):
            pairs = zip(
                jax.tree.leaves(get(before)), jax.tree.leaves(get(after)), strict=True
            )
            return any(bool(jnp.any(a != b)) for a, b in pairs)

        assert changed(lambda s: s.learned.params["D"])
        assert not changed(lambda s: s.learned.params["E"])
        moved.append(changed(lambda s: s.learned.params["G"]))
        assert moved[-1] == changed(lambda s: s.learned.model_state["G"])
        assert moved[-1] == changed(lambda s: s.opt_state["G"])
        state = after
    assert moved == [False, False, True, False, False, True]


def test_the_encoder_learns_by_image_and_features(method, state, images):
    learned = state.learned
    x = jnp.asarray(images / 127.5 - 1, jnp.float32)
    total, (metrics, _) = jax.jit(
        lambda x: under_batch(
            lambda x: method.encoder_loss(learned.params["E"], learned, x), x
        )
    )(x)
    E = {"params": learned.params["E"], "batch_stats": learned.model_state["E"]}
    G = {"params": learned.params["G"], "batch_stats": learned.model_state["G"]}
    D = functools.partial(method.discriminator().apply, {"params": learned.params["D"]})

    @jax.jit
    def networks(x):
        z, _ = under_batch(
            lambda x: method.encoder().apply(E, x, True, mutable=["batch_stats"]), x
        )
        again = method.generator().apply(G, z, False)
        return z, again, D(x)[1], D(again)[1]

    z, again, of_x, of_again = map(np.asarray, networks(x))
    assert np.abs(z).max() < 1
    of_image = np.mean(np.square(np.asarray(x) - again))
    of_features = np.mean(np.square(of_x - of_again))
    np.testing.assert_allclose(metrics["L_image"], of_image, rtol=1e-4)
    np.testing.assert_allclose(metrics["L_features"], of_features, rtol=1e-4)
    np.testing.assert_allclose(total, of_image + of_features, rtol=1e-4)


def test_the_map_is_the_squared_distance_from_what_is_drawn_again(
    method, state, images
):
    learned = state.learned
    x = jnp.asarray(images / 255.0, jnp.float32)
    E = {"params": learned.params["E"], "batch_stats": learned.model_state["E"]}
    G = {"params": learned.params["G"], "batch_stats": learned.model_state["G"]}
    again = jax.jit(
        lambda x: method.generator().apply(
            G, method.encoder().apply(E, x, False), False
        )
    )(2 * x - 1)
    expected = np.square(2 * np.asarray(x) - 1 - np.asarray(again))[..., 0]
    found = jax.jit(method.anomaly_map)(DetectorState({}, learned, {}), x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_rmsprop_is_tensorflows():
    """Against its rule by hand: the mean square starts at 1, the root has epsilon."""
    optimizer = FAnoGAN().optimizers()["E"]
    w, square = np.array([0.3, -0.2]), np.ones(2)
    params = jnp.asarray(w, jnp.float32)
    state = optimizer.init(params)
    for g in (np.array([0.5, -2.0]), np.array([0.1, 0.0])):
        square = 0.9 * square + 0.1 * g**2
        w = w - 5e-5 * g / np.sqrt(square + 1e-10)
        updates, state = optimizer.update(jnp.asarray(g, jnp.float32), state, params)
        params = params + updates
    np.testing.assert_allclose(params, w, rtol=1e-6)


def test_images_are_gray():
    assert FAnoGAN().channels == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"image_size": 128}, "image_size is 128, and widths names 4 .* 64 pixels"),
        ({"widths": ()}, "change one of them"),
        ({"critic_updates": 0}, "critic_updates is 0"),
        ({"kappa": -1.0}, "0 or more"),
        ({"precision": "half"}, "bfloat16"),
    ],
)
def test_a_field_outside_its_range_is_named(fields, says):
    with pytest.raises(UserError, match=says):
        FAnoGAN(**fields).validate()


def test_first_weights_have_the_deviations_of_wgan_gp():
    """sqrt(4 / (fan in + fan out)) in the blocks and at G's end, else sqrt(2 / ...)."""
    params = jax.jit(lambda seed: init_state(FAnoGAN(), seed))(0).learned.params
    expected = {
        ("G", "up1", "conv1", "kernel"): np.sqrt(4 / (9 * (256 + 128))),
        ("G", "up1", "shortcut", "kernel"): np.sqrt(2 / (256 + 128)),
        ("G", "conv_out", "kernel"): np.sqrt(4 / (9 * (64 + 1))),
        ("G", "from_z", "kernel"): np.sqrt(2 / (128 + 8192)),
        ("D", "features", "down2", "conv2", "kernel"): np.sqrt(4 / (9 * (256 + 512))),
        ("D", "features", "conv_in", "kernel"): np.sqrt(2 / (9 * (1 + 64))),
        ("E", "to_z", "kernel"): np.sqrt(2 / (8192 + 128)),
    }
    for path, deviation in expected.items():
        found = params
        for name in path:
            found = found[name]
        assert np.std(found) == pytest.approx(deviation, rel=0.05), path
        assert np.abs(found).max() <= deviation * np.sqrt(3) * (1 + 1e-6)


@pytest.mark.parametrize("up", [True, False])
def test_a_block_is_that_of_wgan_gp(up):
    """In NumPy, with layer norms over whole images."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, 4, 4, 3)).astype(np.float32)
    block = Residual(5, up, None, jnp.float32)
    params = block.init(jax.random.key(0), x, False)["params"]
    params = jax.tree.map(
        lambda a: draw.normal(size=a.shape).astype(np.float32), params
    )

    def norm(x, p):
        ln = p["LayerNorm_0"]
        mean = x.mean(axis=(1, 2, 3), keepdims=True)
        var = x.var(axis=(1, 2, 3), keepdims=True)
        return np.maximum(
            (x - mean) / np.sqrt(var + 1e-5) * ln["scale"] + ln["bias"], 0
        )

    def larger(x):
        return x.repeat(2, axis=1).repeat(2, axis=2)

    y = norm(x, params["norm1"])
    y = numpy_nets.conv(larger(y) if up else y, params["conv1"]["kernel"], 0, pad=1)
    y = numpy_nets.conv(norm(y, params["norm2"]), **params["conv2"], pad=1)
    y = y if up else numpy_nets.mean_pool(y)
    beside = larger(x) if up else numpy_nets.mean_pool(x)
    y = y + numpy_nets.conv(beside, **params["shortcut"])
    found = block.apply({"params": params}, x, False)
    np.testing.assert_allclose(found, y, rtol=1e-3, atol=1e-4)
