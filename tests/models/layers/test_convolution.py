"""Every form of a convolution against XLA's own, values and gradients in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.models.classifiers import inverted_residuals
from gcad_jax.models.layers import convolution
from gcad_jax.models.layers.convolution import LAYOUT, convolve, plain_convolutions

# (batch, height, width, channels), kernel, channels of the result, padding; and the
# stride where it is not 1.
CASES = {
    "1 x 1": ((2, 5, 7, 3), (1, 1), 4, "VALID"),
    "larger kernel than images": ((1, 4, 4, 80), (3, 3), 72, ((1, 1), (1, 1))),
    "no padding": ((2, 20, 19, 4), (5, 4), 6, "VALID"),
    "no padding, many channels": ((3, 19, 30, 64), (2, 2), 66, ((0, 0), (0, 0))),
    "padding": ((2, 12, 9, 3), (3, 3), 8, ((1, 1), (1, 1))),
    "many channels": ((2, 18, 30, 64), (3, 3), 64, ((1, 1), (1, 1))),
    "uneven padding": ((2, 21, 24, 64), (3, 2), 64, ((2, 0), (0, 1))),
    "stride 2": ((2, 12, 16, 64), (4, 4), 66, ((1, 1), (1, 1)), 2),
    "stride 2, odd side": ((2, 11, 16, 64), (4, 4), 64, ((1, 1), (1, 1)), 2),
    "stride 2, few channels": ((2, 12, 16, 3), (4, 4), 64, ((1, 1), (1, 1)), 2),
}


def with_stride(shape, size, features, padding, stride=1):
    """The fields of a case."""
    return shape, size, features, padding, (stride, stride)


def arrays(shape, size, features):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    kernel = rng.normal(size=(*size, shape[-1], features)).astype(np.float32)
    return x, kernel


def in_float64(x, kernel, padding, weights=None, strides=(1, 1)):
    """The convolution, and its gradients for a weighted sum of the result."""
    with jax.enable_x64():
        x, kernel = jnp.asarray(x, jnp.float64), jnp.asarray(kernel, jnp.float64)

        def plain(x, kernel):
            return jax.lax.conv_general_dilated(
                x, kernel, strides, padding, dimension_numbers=LAYOUT
            )

        value, pullback = jax.vjp(plain, x, kernel)
        if weights is None:
            return np.asarray(value), None
        return np.asarray(value), jax.device_get(pullback(jnp.asarray(weights)))


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case):
    shape, size, features, padding, strides = with_stride(*CASES[case])
    x, kernel = arrays(shape, size, features)
    wanted, _ = in_float64(x, kernel, padding, strides=strides)
    weights = np.random.default_rng(1).normal(size=wanted.shape)
    wanted, gradients = in_float64(x, kernel, padding, weights, strides)

    def computed(x, kernel, weights):
        value, pullback = jax.vjp(
            lambda x, k: convolve(x, k, strides, padding), x, kernel
        )
        return value, pullback(weights)

    found = jax.jit(computed)(x, kernel, weights.astype(np.float32))
    for ours, exact in zip(
        jax.tree.leaves(found), jax.tree.leaves((wanted, gradients)), strict=True
    ):
        assert ours.shape == exact.shape
        np.testing.assert_allclose(ours, exact, rtol=0, atol=2e-6 * np.abs(exact).max())


def forms_of(x, kernel, padding):
    """The traced program, which names convolutions and their padding."""
    jaxpr = jax.make_jaxpr(lambda x, k: convolve(x, k, (1, 1), padding))
    return str(jaxpr(x, kernel))


def test_other_programs_get_the_plain_form():
    shape, size, features, padding = CASES["no padding"]
    x, kernel = arrays(shape, size, features)
    assert "padding=((0, 1), (0, 0))" in forms_of(x, kernel, padding)
    with plain_convolutions():
        assert "padding=((0, 0), (0, 0))" in forms_of(x, kernel, padding)


def test_accelerators_get_the_plain_form(monkeypatch):
    shape, size, features, padding = CASES["larger kernel than images"]
    x, kernel = arrays(shape, size, features)
    assert "conv_general_dilated" not in forms_of(x, kernel, padding)
    monkeypatch.setattr(convolution.jax, "default_backend", lambda: "gpu")
    assert "conv_general_dilated" in forms_of(x, kernel, padding)


@pytest.mark.parametrize(
    "options",
    [
        {"strides": (2, 2)},
        {"rhs_dilation": (2, 2)},
        {"padding": "SAME"},
        {"preferred_element_type": jnp.float32},
        {"batch_group_count": 1, "precision": "highest"},
    ],
)
def test_what_is_not_dense_is_left_alone(options):
    x, kernel = arrays((1, 9, 9, 2), (3, 3), 2)
    arguments = {"strides": (1, 1), "padding": "VALID", **options}
    ours = convolve(x, kernel, **arguments)
    arguments["window_strides"] = arguments.pop("strides")
    plain = jax.lax.conv_general_dilated(
        x, kernel, dimension_numbers=LAYOUT, **arguments
    )
    np.testing.assert_array_equal(ours, plain)


def test_seeds_can_be_mapped():
    shape, size, features, padding = CASES["many channels"]
    x, kernel = arrays(shape, size, features)
    kernels = np.stack([kernel, 2 * kernel])

    def loss(kernel):
        return jnp.mean(convolve(x, kernel, (1, 1), padding) ** 2)

    mapped = jax.vmap(jax.grad(loss))(kernels)
    one_by_one = jnp.stack([jax.grad(loss)(k) for k in kernels])
    np.testing.assert_allclose(mapped, one_by_one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2)])
def test_depthwise_in_both_forms(kernel, stride):
    x = np.random.default_rng(0).normal(size=(2, 8, 11, 6)).astype(np.float32)
    net = inverted_residuals.Depthwise(kernel, stride)
    variables = net.init(jax.random.key(0), x)
    shifted = net.apply(variables, x)
    with plain_convolutions():
        grouped = net.apply(variables, x)
    np.testing.assert_allclose(shifted, grouped, atol=1e-6)
