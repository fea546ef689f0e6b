import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_nets

from gcad_jax.core.errors import UserError
from gcad_jax.models.global_encoder import GlobalEncoder
from gcad_jax.models.layers.skip_fading import skip_weights

SLOPE = 5e-3
WIDTHS = (4, 5, 6, 7, 8)


@functools.cache
def small(size=32):
    net = GlobalEncoder(d_glo=4, g=3, widths=WIDTHS)
    images = jnp.zeros((1, size, size, 3))
    return net, jax.jit(net.init)(jax.random.key(0), images, jnp.ones(5))


@functools.cache
def compiled(net, method="__call__"):
    return jax.jit(functools.partial(net.apply, method=method))


def image(size=32, batch=1):
    rng = np.random.default_rng(0)
    return rng.normal(size=(batch, size, size, 3)).astype(np.float32)


def oracle(params, x, skips):
    """Fig. 7 in NumPy; a skip is added to the activation of its level."""
    p = jax.tree.map(np.asarray, params)
    levels = []
    for i in range(5):
        layer = p["encoder"][f"conv{i}"]
        x = numpy_nets.conv(x, **layer, stride=2, pad=1)
        x = numpy_nets.leaky_relu(x, SLOPE)
        levels.append(x)
    side, width = x.shape[1], x.shape[-1]
    to_g, from_g = p["encoder"]["to_g"], p["decoder"]["from_g"]["kernel"]
    g = from_g.shape[0]
    x = numpy_nets.conv(x, to_g["kernel"].reshape(side, side, width, g), to_g["bias"])
    assert x.shape[1:] == (1, 1, g)
    # (g, side * side * width) to PyTorch's layout (side, side, g, width).
    kernel = from_g.reshape(g, side, side, width).transpose(1, 2, 0, 3)
    bias = p["decoder"]["from_g_bias"]
    x = numpy_nets.transposed_conv(x, kernel, bias, stride=1, pad=0)
    for i, name in zip(
        (4, 3, 2, 1, 0), ("conv3", "conv2", "conv1", "conv0", "conv_out"), strict=True
    ):
        skip = numpy_nets.conv(levels[i], **p["decoder"][f"skip{i}"])
        x = numpy_nets.leaky_relu(x, SLOPE) + skips[i] * skip
        x = numpy_nets.transposed_conv(x, **p["decoder"][name], stride=2, pad=1)
    return x


def test_parameter_count_and_size_at_256_pixels():
    net = GlobalEncoder()
    x = jax.ShapeDtypeStruct((2, 256, 256, 3), jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), x, jnp.ones(5))
    assert sum(v.size for v in jax.tree.leaves(variables)) == 1_050_090
    out = jax.eval_shape(net.apply, variables, x, jnp.ones(5))
    assert out.shape == (2, 256, 256, 10)
    code, levels = jax.eval_shape(
        functools.partial(net.apply, method=lambda net, x: net.encoder(x)), variables, x
    )
    assert code.shape == (2, 32)
    assert [level.shape[1:] for level in levels] == [
        (128, 128, 32),
        (64, 64, 32),
        (32, 32, 64),
        (16, 16, 64),
        (8, 8, 128),
    ]


@pytest.mark.parametrize("size", [32, 64])
def test_equals_the_network_in_numpy(size):
    net, variables = small(size=size)
    x = image(size)
    skips = np.array([0.9, 0.1, 0.6, 0.3, 0.7], np.float32)
    expected = oracle(variables["params"], x, skips)
    assert expected.shape == (1, size, size, 4)
    found = compiled(net)(variables, x, jnp.asarray(skips))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("i", range(5))
def test_each_skip_weight_belongs_to_its_level_upper_first(i):
    net, variables = small()
    x = image()

    def change(skips):
        out = compiled(net)(variables, x, jnp.asarray(skips))
        return np.abs(out - compiled(net)(variables, x, jnp.zeros(5))).max()

    one = np.zeros(5, np.float32)
    one[i] = 1
    assert change(one) > 0
    cut = jax.tree.map(lambda v: v, variables)
    cut["params"]["decoder"] = {**cut["params"]["decoder"]}
    skip = cut["params"]["decoder"][f"skip{i}"]
    assert skip["kernel"].shape == (1, 1, WIDTHS[i], WIDTHS[i])
    cut["params"]["decoder"][f"skip{i}"] = jax.tree.map(jnp.zeros_like, skip)
    without = compiled(net)(cut, x, jnp.asarray(one))
    np.testing.assert_array_equal(without, compiled(net)(cut, x, jnp.zeros(5)))


def test_no_skips_equal_zero_weights():
    net, variables = small()
    x = image()
    np.testing.assert_array_equal(
        compiled(net)(variables, x, None), compiled(net)(variables, x, jnp.zeros(5))
    )


def test_without_skips_everything_goes_through_the_code():
    net, variables = small()
    x = image()
    code, levels = compiled(net, lambda net, x: net.encoder(x))(variables, x)
    decoded = compiled(net, lambda net, code, levels: net.decoder(code, levels, None))(
        variables, code, [jnp.zeros_like(v) for v in levels]
    )
    np.testing.assert_array_equal(decoded, compiled(net)(variables, x, None))

    # 12 numbers made of the output depend on the image in no more than g directions.
    mixing = np.random.default_rng(1).normal(size=(32 * 32 * 4, 12)) / 64
    mixing = jnp.asarray(mixing, jnp.float32)

    @jax.jit
    def jacobian(x, skips):
        return jax.jacrev(
            lambda x: net.apply(variables, x, skips).reshape(-1) @ mixing
        )(x)

    def rank(skips):
        rows = np.asarray(jacobian(jnp.asarray(x), skips)).reshape(12, -1)
        values = np.linalg.svd(rows, compute_uv=False)
        return int((values > 1e-4 * values[0]).sum())

    assert rank(None) == 3
    assert rank(jnp.zeros(5)) == 3
    assert rank(jnp.ones(5)) == 12


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            "sequential",
            {
                0: (1, 1, 1, 1, 1),
                20: (0, 1, 1, 1, 1),
                50: (0, 0, 1 / 2, 1, 1),
                100: (0, 0, 0, 0, 0),
                500: (0, 0, 0, 0, 0),
            },
        ),
        (
            "staggered",
            {
                0: (1, 1, 1, 1, 1),
                20: (0, 1 / 2, 2 / 3, 3 / 4, 4 / 5),
                50: (0, 0, 1 / 6, 3 / 8, 1 / 2),
                100: (0, 0, 0, 0, 0),
                500: (0, 0, 0, 0, 0),
            },
        ),
        (
            "overlapping",
            {
                0: (1, 1, 1, 1, 1),
                20: (2 / 3, 5 / 6, 1, 1, 1),
                50: (1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6),
                100: (0, 0, 0, 0, 0),
                500: (0, 0, 0, 0, 0),
            },
        ),
    ],
)
def test_skip_weights_at_known_epochs(schedule, expected):
    weights = jax.jit(functools.partial(skip_weights, schedule=schedule))
    for epoch, values in expected.items():
        found = weights(jnp.int32(epoch))
        np.testing.assert_allclose(found, values, rtol=1e-6)
        if epoch >= 100:  # gone, not small
            np.testing.assert_array_equal(found, np.zeros(5))


def test_skip_weights_follow_the_fading_time():
    np.testing.assert_allclose(skip_weights(5.0, 20), (0, 3 / 4, 1, 1, 1), rtol=1e-6)
    for epochs in (7, 13, 33):
        np.testing.assert_array_equal(skip_weights(epochs, epochs), np.zeros(5))
    np.testing.assert_array_equal(skip_weights(0, 0), np.zeros(5))


def test_bad_schedule_is_refused():
    with pytest.raises(UserError, match=r"'sequental'.*Did you mean 'sequential'"):
        skip_weights(0, schedule="sequental")
    with pytest.raises(UserError, match="fade_epochs is -1"):
        skip_weights(0, -1)


def test_bad_widths_and_sizes_are_refused():
    net, variables = small()
    with pytest.raises(UserError, match=r"height is 48; .* multiple of 32"):
        net.apply(variables, jnp.zeros((1, 48, 32, 3)), None)
    with pytest.raises(UserError, match="needs 5 widths"):
        GlobalEncoder(widths=(4, 4)).init(
            jax.random.key(0), jnp.zeros((1, 32, 32, 3)), None
        )


def test_bfloat16_computes_near_float32_with_float32_parameters():
    exact, variables = small()
    net = exact.clone(dtype=jnp.bfloat16)
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    x = image()
    expected = compiled(exact)(variables, x, jnp.ones(5))
    found = compiled(net)(variables, x, jnp.ones(5))
    assert found.dtype == jnp.bfloat16
    error = np.abs(np.asarray(found, np.float32) - expected).max()
    assert error < 0.03 * np.abs(expected).max()


def test_initial_values_are_within_one_over_root_fan_in():
    _, variables = small(size=64)
    encoder, decoder = variables["params"]["encoder"], variables["params"]["decoder"]
    # PyTorch counts a transposed convolution by its outputs: out * k * k.
    for values, fan_in in (
        (encoder["conv1"]["kernel"], 4 * 16),
        (encoder["to_g"]["kernel"], 8 * 2 * 2),
        (decoder["from_g"]["kernel"], 8 * 2 * 2),
        (decoder["from_g_bias"], 8 * 2 * 2),
        (decoder["conv3"]["kernel"], 7 * 16),
        (decoder["conv_out"]["kernel"], 4 * 16),
        (decoder["skip2"]["kernel"], 6),
    ):
        largest = float(jnp.abs(values).max()) * fan_in**0.5
        assert 0.5 < largest <= 1 + 1e-6
