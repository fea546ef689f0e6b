"""Descriptors against the maps of the network, and moments against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles

from gcad_jax.methods.closed_form.descriptors import (
    DEEP,
    LEVELS,
    STRIDE,
    Describer,
    Moments,
    average_pool,
    concatenate_levels,
    level_moments,
    pooled_moments,
)
from gcad_jax.models.classifiers.classifier import classifier

ARCH = "efficientnet_lite0"


@pytest.mark.parametrize("arch", LEVELS)
def test_the_finest_grid_is_at_the_stride_and_no_level_is_finer(arch):
    """Of every network, and of images that are no squares; nothing is computed."""
    network = classifier(arch)
    x = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    params = jax.eval_shape(network.module.init, jax.random.key(0), x)["params"]
    described = jax.eval_shape(Describer(arch), params, x)
    shapes = [level.shape[1:3] for level in described.levels]
    assert len(shapes) == len(LEVELS[arch])
    assert shapes[0] == (64 // STRIDE, 96 // STRIDE)
    assert shapes == sorted(shapes, reverse=True)
    assert described.pooled.shape[0] == 2
    assert described.pooled.ndim == 2


def test_descriptors_are_maps_of_the_network_and_their_means():
    network = classifier(ARCH)
    images = jnp.asarray(doubles.random_images(2, side=32) / 255.0, jnp.float32)
    params = jax.jit(network.module.init)(jax.random.key(0), images)["params"]
    described, maps = jax.jit(lambda p, x: (Describer(ARCH)(p, x), network.maps(p, x)))(
        params, images
    )
    finest, *others = (maps[name] for name in LEVELS[ARCH])
    finest = np.asarray(finest).reshape(2, 4, 2, 4, 2, -1).mean(axis=(2, 4))
    for found, expected in zip(described.levels, [finest, *others], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    deep = [np.asarray(maps[name]).mean(axis=(1, 2)) for name in DEEP[ARCH]]
    expected = np.concatenate(deep, axis=1)
    np.testing.assert_allclose(described.pooled, expected, rtol=1e-3, atol=1e-4)


def test_averages_are_of_squares_of_places():
    x = np.random.default_rng(0).random((2, 8, 12, 3)).astype(np.float32)
    found = average_pool(jnp.asarray(x), 4)
    np.testing.assert_allclose(found[1, 1, 2], x[1, 4:8, 8:12].mean(axis=(0, 1)), 1e-5)
    odd = average_pool(jnp.asarray(x[:, :7, :11]), 2)
    np.testing.assert_allclose(odd, average_pool(jnp.asarray(x[:, :6, :10]), 2))


def test_levels_meet_on_the_finest_grid():
    draw = np.random.default_rng(0)
    fine = jnp.asarray(draw.random((2, 4, 6, 3)), jnp.float32)
    coarse = jnp.full((2, 2, 3, 5), 7.0)
    found = concatenate_levels((fine, coarse))
    assert found.shape == (2, 4, 6, 8)
    np.testing.assert_array_equal(found[..., :3], fine)
    np.testing.assert_allclose(found[..., 3:], 7, rtol=1e-6)
    assert concatenate_levels((fine,)).shape == fine.shape


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_moments_are_over_all_places_of_all_images(kind):
    """Also where the deviation is far smaller than the mean."""
    draw = np.random.default_rng(0)
    level = draw.normal([0, 500, -3], [1, 2, 0.5], (5, 3, 4, 3)).astype(kind)
    mean, std = level_moments(jnp.asarray(level))
    exact = np.float64(level)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std, exact.std(axis=(0, 1, 2)), rtol=1e-4)
    standardized = Moments(mean, std).standardize(jnp.asarray(level))
    assert standardized.dtype == jnp.float32
    np.testing.assert_allclose(standardized.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(standardized.std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_moments_of_pooled_features_are_over_the_images():
    pooled = np.random.default_rng(0).normal(2, 3, (7, 4)).astype(np.float32)
    mean, std = pooled_moments(jnp.asarray(pooled))
    np.testing.assert_allclose(mean, pooled.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(std, pooled.std(axis=0), rtol=1e-5)


def test_a_channel_that_never_changes_is_not_blown_up():
    """Rounding is its only deviation, and a new image may well change it a little."""
    level = np.random.default_rng(0).normal(size=(4, 2, 2, 5)).astype(np.float32)
    level[..., 1] = 3.0
    moments = level_moments(jnp.asarray(level))
    others = np.delete(np.asarray(moments.std), 1)
    assert 1e-4 * others.mean() < moments.std[1] < 1e-2 * others.mean()
    nothing = level_moments(jnp.ones((4, 2, 2, 5)))
    found = nothing.standardize(jnp.ones((1, 2, 2, 5)))
    np.testing.assert_array_equal(found, 0)
