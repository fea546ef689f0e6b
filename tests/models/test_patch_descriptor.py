import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_nets

from gcad_jax.core.errors import UserError
from gcad_jax.models.patch_descriptor import (
    PatchDescriptor,
    feature_moments,
    fold_normalization,
)
from gcad_jax.models.patch_layers import padding, receptive_field

PATCH_SIZES = (17, 33, 65)
# First and last pixel that a descriptor sees, relative to its own pixel.
WINDOWS = {17: (-8, 8), 33: (-16, 15), 65: (-32, 27)}
# What follows each convolution in the published tables: a pool or nothing.
POOLS = {
    17: (False, False, False, False),
    33: (True, True, False, False),
    65: (True, True, True, False, False),
}
SLOPE = 5e-3


@functools.cache
def small(p, border="zero", dtype=jnp.float32):
    """A narrow descriptor with biases and its parameters."""
    net = PatchDescriptor(p, d_loc=5, width=0.05, border=border, dtype=dtype)
    params = jax.jit(net.init)(jax.random.key(p), jnp.zeros((1, 8, 8, 3)))["params"]
    rng = np.random.default_rng(p)
    for layer in params.values():
        layer["bias"] = jnp.asarray(rng.normal(size=layer["bias"].shape), jnp.float32)
    return net, {"params": params}


@functools.cache
def compiled(net, method="__call__"):
    return jax.jit(functools.partial(net.apply, method=method))


def image(height, width, batch=1):
    rng = np.random.default_rng(height * width)
    return rng.normal(size=(batch, height, width, 3)).astype(np.float32)


def oracle(params, p, patches):
    """The published table in NumPy: convolution, leaky ReLU, pool."""
    x = patches
    for i, (layer, pooled) in enumerate(
        zip(sorted(params, key=lambda n: (n == "conv_out", n)), POOLS[p], strict=True)
    ):
        kernel, bias = np.asarray(params[layer]["kernel"]), params[layer]["bias"]
        x = numpy_nets.conv(x, kernel, np.asarray(bias))
        if i < len(POOLS[p]) - 1:
            x = numpy_nets.leaky_relu(x, SLOPE)
        x = numpy_nets.max_pool(x) if pooled else x
    assert x.shape[1:3] == (1, 1)
    return x[:, 0, 0]


@pytest.mark.parametrize(
    ("p", "count"), [(17, 2_996_480), (33, 1_616_000), (65, 2_320_640)]
)
def test_parameter_counts_are_the_published_ones(p, count):
    net = PatchDescriptor(p)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count
    patch = jax.eval_shape(
        functools.partial(net.apply, method="patch"), shapes, jnp.zeros((2, p, p, 3))
    )
    assert patch.shape == (2, 128)


def test_width_scales_hidden_layers_only():
    net = PatchDescriptor(65, width=0.25, p65_conv3=128)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    widths = [
        shapes["params"][name]["bias"].shape[0]
        for name in ("conv1", "conv2", "conv3", "conv4", "conv_out")
    ]
    assert widths == [32, 32, 32, 64, 128]


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_gradient_of_one_descriptor_covers_exactly_its_window(p):
    net, variables = small(p)
    first, last = WINDOWS[p]
    row, column = 36, 40
    x = image(64, 72, batch=2)
    gradient = jax.jit(
        jax.grad(lambda x: net.apply(variables, x)[:, row, column].sum())
    )(x)
    seen = np.abs(gradient).sum(axis=(0, 3)) > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    np.testing.assert_array_equal(rows, np.arange(row + first, row + last + 1))
    np.testing.assert_array_equal(columns, np.arange(column + first, column + last + 1))
    assert receptive_field(p) == last - first + 1
    assert padding(p) == (-first, last)


@pytest.mark.parametrize("border", ["zero", "reflect"])
@pytest.mark.parametrize("p", PATCH_SIZES)
def test_dense_form_describes_the_patch_around_every_pixel(p, border):
    net, variables = small(p, border)
    height, width = 40, 48
    x = image(height, width)
    features = np.asarray(compiled(net)(variables, x))
    assert features.shape == (1, height, width, 5)
    half = p // 2
    padded = np.pad(
        x,
        ((0, 0), (half, half), (half, half), (0, 0)),
        mode="constant" if border == "zero" else "reflect",
    )
    positions = [(0, 0), (0, 47), (39, 0), (39, 47), (20, 21), (13, 38), (7, 30)]
    patches = np.concatenate(
        [padded[:, r : r + p, c : c + p] for r, c in positions], axis=0
    )
    expected = oracle(variables["params"], p, patches)
    found = np.stack([features[0, r, c] for r, c in positions])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    patch_form = compiled(net, "patch")(variables, patches)
    np.testing.assert_allclose(patch_form, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_dense_form_equals_the_patch_form_at_every_pixel(p):
    net, variables = small(p)
    x = image(8, 16, batch=2)
    half = p // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (p, p), (1, 2))
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, p, p, 3)
    expected = compiled(net, "patch")(variables, patches).reshape(2, 8, 16, 5)
    np.testing.assert_allclose(
        compiled(net)(variables, x), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("p", [33, 65])
def test_gradient_of_the_parameters_is_the_same_in_both_forms(p):
    net, variables = small(p)
    x = image(8, 8)
    half = p // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))

    def dense(variables):
        return jnp.square(compiled(net)(variables, x)[0, 3, 5]).sum()

    def patch(variables):
        patches = padded[:, 3 : 3 + p, 5 : 5 + p]
        return jnp.square(compiled(net, "patch")(variables, patches)).sum()

    for a, b in zip(
        jax.tree.leaves(jax.jit(jax.grad(dense))(variables)),
        jax.tree.leaves(jax.jit(jax.grad(patch))(variables)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())


def test_default_kernels_are_he_normal_and_biases_zero():
    net = PatchDescriptor(33)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    for layer in params.values():
        fan_in = np.prod(layer["kernel"].shape[:3])
        expected = np.sqrt(2 / (1 + SLOPE**2) / fan_in)
        np.testing.assert_allclose(np.std(layer["kernel"]), expected, rtol=0.03)
        np.testing.assert_array_equal(layer["bias"], np.zeros_like(layer["bias"]))


def test_kernel_init_can_be_given():
    net = PatchDescriptor(17, width=0.1, kernel_init=jax.nn.initializers.ones)
    params = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    np.testing.assert_array_equal(params["conv1"]["kernel"], np.ones((6, 6, 3, 13)))


def test_bfloat16_computes_near_float32_with_float32_parameters():
    net, variables = small(33, dtype=jnp.bfloat16)
    exact, _ = small(33)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    x = image(16, 16)
    found, expected = compiled(net)(variables, x), compiled(exact)(variables, x)
    assert found.dtype == jnp.bfloat16
    error = np.abs(np.asarray(found, np.float32) - expected).max()
    assert error < 0.05 * np.abs(expected).max()


def test_moments_are_those_of_all_pixels_and_folding_standardizes():
    net, variables = small(33)
    batches = [image(24, 32, batch=3), image(16, 16, batch=1) + 1]
    features = [np.asarray(compiled(net)(variables, x)) * 1 for x in batches]
    pixels = np.concatenate([f.reshape(-1, 5) for f in features]).astype(np.float64)
    mean, std = feature_moments(iter([jnp.asarray(f) for f in features]))
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(std, pixels.std(0), rtol=1e-5)

    folded = fold_normalization(variables["params"], mean, std)
    out = [np.asarray(compiled(net)({"params": folded}, x)) for x in batches]
    pixels = np.concatenate([f.reshape(-1, 5) for f in out]).astype(np.float64)
    np.testing.assert_allclose(pixels.mean(0), np.zeros(5), atol=1e-4)
    np.testing.assert_allclose(pixels.std(0), np.ones(5), rtol=1e-4)
    assert folded["conv1"] is variables["params"]["conv1"]


def test_moments_keep_a_small_deviation_on_a_large_mean():
    rng = np.random.default_rng(0)
    features = (1000 + 0.01 * rng.normal(size=(4, 64, 64, 2))).astype(np.float32)
    _, std = feature_moments([features[:2], features[2:]])
    expected = features.astype(np.float64).std((0, 1, 2))
    np.testing.assert_allclose(std, expected, rtol=0.01)


def test_constant_dimension_is_divided_by_the_smallest_deviation():
    _, variables = small(17)
    params = variables["params"]
    folded = fold_normalization(params, np.zeros(5), np.zeros(5))
    np.testing.assert_allclose(
        folded["conv_out"]["kernel"], params["conv_out"]["kernel"] * 1e6, rtol=1e-6
    )


def test_no_features_have_no_moments():
    with pytest.raises(ValueError, match="at least one batch"):
        feature_moments(iter(()))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"p": 21}, "21; allowed are 17, 33, 65"),
        ({"p": 17, "border": "wrap"}, "'wrap'"),
        ({"p": 17, "arch": "pdn_small"}, "pdn_small is 17; allowed are 33"),
        ({"p": 33, "arch": "pdn"}, "'pdn'; allowed are 'student_teacher', 'pdn_small'"),
    ],
)
def test_unknown_patch_size_or_border_is_refused(field, message):
    with pytest.raises(UserError, match=message):
        PatchDescriptor(**field).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_wrong_sizes_are_refused():
    net, variables = small(33)
    with pytest.raises(UserError, match=r"height is 20; .* multiple of 8"):
        net.apply(variables, jnp.zeros((1, 20, 16, 3)))
    with pytest.raises(ValueError, match=r"expected \(B, 33, 33, 3\)"):
        net.apply(variables, jnp.zeros((1, 32, 32, 3)), method="patch")
