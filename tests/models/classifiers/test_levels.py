"""Levels of a network against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.models.classifiers.levels import (
    Moments,
    average_pool,
    concatenate_levels,
    fit_level_moments,
    fit_pooled_moments,
)


@pytest.fixture
def draw():
    return np.random.default_rng(0).normal


def test_averages_are_of_squares_of_places(draw):
    x = draw(size=(2, 8, 12, 3)).astype(np.float32)
    pooled = average_pool(jnp.asarray(x), 4)
    assert pooled.shape == (2, 2, 3, 3)
    expected = x[1, 4:8, 8:12].mean(axis=(0, 1))
    np.testing.assert_allclose(pooled[1, 1, 2], expected, rtol=1e-5, atol=1e-6)
    # Of an odd side the last row and column have no partner.
    odd = average_pool(jnp.asarray(np.pad(x, ((0, 0), (0, 3), (0, 1), (0, 0)))), 4)
    np.testing.assert_array_equal(odd, pooled)


def test_coarser_levels_are_resized_and_stand_behind(draw):
    fine, coarse = draw(size=(2, 4, 6, 3)), draw(size=(2, 2, 3, 5))
    together = concatenate_levels((jnp.asarray(fine), jnp.asarray(coarse)))
    resized = jax.image.resize(coarse, (2, 4, 6, 5), "bilinear")
    expected = np.concatenate([fine, resized], axis=-1)
    np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_moments_are_those_of_all_places_of_all_images(draw, kind):
    level = (1000 + draw(size=(5, 3, 4, 6)) * np.arange(1, 7)).astype(kind)
    moments = jax.jit(fit_level_moments)(level)
    flat = level.astype(np.float64).reshape(-1, 6)
    np.testing.assert_allclose(moments.mean, flat.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(moments.std, flat.std(axis=0), rtol=1e-4)
    expected = (flat - flat.mean(axis=0)) / flat.std(axis=0)
    standardized = np.asarray(moments.standardize(jnp.asarray(level))).reshape(-1, 6)
    np.testing.assert_allclose(standardized, expected, atol=1e-3)


def test_moments_of_pooled_features_are_of_images(draw):
    pooled = draw(size=(7, 4)) + 3
    moments = fit_pooled_moments(jnp.asarray(pooled))
    np.testing.assert_allclose(moments.mean, pooled.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(moments.std, pooled.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_channel_that_never_changes_is_not_blown_up(draw, value):
    pooled = draw(size=(50, 4))
    pooled[:, 2] = value
    moments = fit_pooled_moments(jnp.asarray(pooled))
    std = np.asarray(moments.std)
    assert std[2] == pytest.approx(1e-3 * std.mean(), rel=1e-2)
    same = fit_pooled_moments(jnp.full((5, 4), value))
    assert np.all(np.asarray(same.std) > 0)
    changed = Moments(*same).standardize(jnp.full((1, 4), value))
    np.testing.assert_array_equal(changed, np.zeros((1, 4)))
