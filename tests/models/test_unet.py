import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_nets

from gcad_jax.core.errors import UserError
from gcad_jax.models.unet import Block, UNet, halve, relu


@pytest.mark.parametrize(("features", "count"), [(128, 31_040_000), (10, 31_032_330)])
def test_parameter_count_at_the_paper_size(features, count):
    shapes = jax.eval_shape(
        UNet(features).init, jax.random.key(0), jnp.zeros((1, 16, 16, 3))
    )
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count


def test_sizes_at_256_pixels():
    net = UNet(10)
    x = jax.ShapeDtypeStruct((2, 256, 256, 3), jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), x)
    capture = functools.partial(
        net.apply,
        capture_intermediates=lambda module, _: isinstance(module, Block),
        mutable=["intermediates"],
    )
    out, state = jax.eval_shape(capture, variables, x)
    sizes = {
        name: value["__call__"][0].shape
        for name, value in state["intermediates"].items()
    }
    assert out.shape == (2, 256, 256, 10)
    assert sizes["down4"] == (2, 16, 16, 1024)
    assert sizes["down0"] == sizes["up0"] == (2, 256, 256, 64)
    assert sizes["down3"] == sizes["up3"] == (2, 32, 32, 512)


def oracle(params, x, depth):
    p = jax.tree.map(np.asarray, params)

    def block(name, x):
        for layer in ("conv1", "conv2"):
            x = numpy_nets.conv(x, **p[name][layer], pad=1)
            x = np.maximum(x, 0)
        return x

    skips = [block("down0", x)]
    for i in range(1, depth):
        skips.append(block(f"down{i}", numpy_nets.max_pool(skips[-1])))
    x = skips[-1]
    for i in reversed(range(depth - 1)):
        x = numpy_nets.transposed_conv(x, **p[f"upconv{i}"], stride=2, pad=0)
        x = block(f"up{i}", np.concatenate([x, skips[i]], axis=-1))
    return numpy_nets.conv(x, **p["out"])


def test_equals_the_network_in_numpy():
    net = UNet(5, base=4, depth=3)
    x = np.random.default_rng(0).normal(size=(2, 16, 24, 3)).astype(np.float32)
    variables = jax.jit(net.init)(jax.random.key(1), x)
    expected = oracle(variables["params"], x, depth=3)
    assert expected.shape == (2, 16, 24, 5)
    np.testing.assert_allclose(
        jax.jit(net.apply)(variables, x), expected, rtol=1e-4, atol=1e-5
    )


def test_halve_is_max_pooling_with_its_gradient():
    x = np.random.default_rng(0).normal(size=(2, 6, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(halve(jnp.asarray(x)), numpy_nets.max_pool(x))
    weights = np.random.default_rng(1).normal(size=(2, 3, 4, 3)).astype(np.float32)
    found = jax.grad(lambda x: (halve(x) * weights).sum())(jnp.asarray(x))
    pooled = jax.grad(lambda x: (nn.max_pool(x, (2, 2), (2, 2)) * weights).sum())(x)
    np.testing.assert_array_equal(found, pooled)


def test_width_scales_every_level():
    shapes = jax.eval_shape(
        UNet(10, width=0.125).init, jax.random.key(0), jnp.zeros((1, 16, 16, 3))
    )
    widths = [shapes["params"][f"down{i}"]["conv1"]["bias"].shape[0] for i in range(5)]
    assert widths == [8, 16, 32, 64, 128]


def test_initial_values_are_within_one_over_root_fan_in():
    net = UNet(10, base=8, depth=2)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    # PyTorch counts a transposed convolution by its outputs: 8 channels of 2 x 2.
    for layer, fan_in in (
        (params["down0"]["conv1"], 3 * 9),
        (params["down1"]["conv2"], 16 * 9),
        (params["upconv0"], 8 * 4),
        (params["up0"]["conv1"], 16 * 9),
        (params["out"], 8),
    ):
        assert 0.95 * fan_in**-0.5 < np.abs(layer["kernel"]).max() <= fan_in**-0.5
        assert 0.4 * fan_in**-0.5 < np.abs(layer["bias"]).max() <= fan_in**-0.5


def test_bfloat16_computes_near_float32_with_float32_parameters():
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    net = UNet(6, base=8, depth=3)
    variables = jax.jit(net.init)(jax.random.key(0), x)
    expected = jax.jit(net.apply)(variables, x)
    half = UNet(6, base=8, depth=3, dtype=jnp.bfloat16)
    found = jax.jit(half.apply)(variables, x)
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert found.dtype == jnp.bfloat16
    error = np.abs(np.asarray(found, np.float32) - expected).max()
    assert error < 0.03 * np.abs(expected).max()


def test_size_that_cannot_be_halved_is_refused():
    with pytest.raises(UserError, match=r"width is 40; .* multiple of 16"):
        UNet(10, base=4).init(jax.random.key(0), jnp.zeros((1, 32, 40, 3)))


def test_relu_has_the_values_and_the_gradient_of_linen():
    x = jnp.asarray([-2.0, -0.0, 0.0, 1e-30, 3.0])
    weights = jnp.asarray([1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(relu(x), nn.relu(x))
    own = jax.grad(lambda x: jnp.sum(weights * relu(x)))(x)
    np.testing.assert_array_equal(
        own, jax.grad(lambda x: jnp.sum(weights * nn.relu(x)))(x)
    )
