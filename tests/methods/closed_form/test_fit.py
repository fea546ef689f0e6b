"""What is learned of all training images, put together by hand from its parts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.methods.closed_form.fit import descriptors_of_rows, fit, fit_memory
from gcad_jax.methods.closed_form.global_branch import leverages
from gcad_jax.methods.closed_form.local_branch import greedy_k_center
from gcad_jax.methods.closed_form.scoring import level_moments
from gcad_jax.models.classifiers.levels import concatenate_levels

COUNT, G, PENALTY, SHRINKAGE = 7, 3, 2.0, 0.05
PLACES = 4 * 6


@pytest.fixture(scope="module")
def levels():
    draw = np.random.default_rng(0)
    shapes = ((4, 6, 3), (2, 3, 5))
    return tuple(draw.normal(4, 2, (COUNT, *s)).astype(np.float16) for s in shapes)


@pytest.fixture(scope="module")
def pooled():
    return np.random.default_rng(1).normal(-2, 3, (COUNT, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(pooled, levels):
    sizes = {"g": G, "penalty": PENALTY, "shrinkage": SHRINKAGE}
    return jax.jit(functools.partial(fit, **sizes))(pooled, levels)


@pytest.fixture(scope="module")
def descriptors(levels):
    """(N, h, w, D) float64, but for the zoom of the coarse level."""

    def standardize(level):
        level = np.float64(level)
        return (level - level.mean(axis=(0, 1, 2))) / level.std(axis=(0, 1, 2))

    both = tuple(jnp.asarray(standardize(x), jnp.float32) for x in levels)
    return np.float64(concatenate_levels(both))


def test_descriptors_of_rows_are_standardized_over_all_images(
    fitted, levels, descriptors
):
    rows = jnp.asarray([5, 0, 5])
    gallery = [jnp.asarray(level) for level in levels]
    found = descriptors_of_rows(gallery, level_moments(fitted), rows)
    np.testing.assert_allclose(found, descriptors[[5, 0, 5]], rtol=1e-3, atol=1e-3)


def test_the_global_branch_is_that_of_these_descriptors(fitted, pooled, descriptors):
    """Of all images but one the regression gives the residual of that one."""
    apart = (pooled - pooled.mean(axis=0)) / pooled.std(axis=0)
    np.testing.assert_allclose(fitted["pooled"], apart, rtol=1e-3, atol=1e-4)
    codes = np.float64(apart @ np.asarray(fitted["bottleneck"]["projection"]))
    solver = np.linalg.inv(codes.T @ codes + PENALTY * np.eye(G)) @ codes.T
    coefficients = np.tensordot(solver, descriptors, 1)
    ridge = fitted["ridge"]
    np.testing.assert_allclose(ridge["mean"], descriptors.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(ridge["coefficients"], coefficients, atol=2e-3)
    residuals = descriptors - descriptors.mean(axis=0)
    residuals -= np.tensordot(codes, coefficients, 1)
    h = np.asarray(leverages(jnp.asarray(codes, jnp.float32), PENALTY))
    left_out = residuals / (1 - h[:, None, None, None])
    explained = 1 - np.sum(left_out**2) / np.sum(descriptors**2)
    np.testing.assert_allclose(ridge["explained_variance"], explained, atol=2e-3)


def test_an_image_is_as_unusual_as_its_mahalanobis_distance(fitted):
    apart = np.float64(fitted["pooled"])
    covariance = apart.T @ apart / COUNT
    shrunk = covariance + SHRINKAGE * np.trace(covariance) / 12 * np.eye(12)
    whitening = np.float64(fitted["pooled_whitening"])
    expected = np.linalg.inv(shrunk)
    np.testing.assert_allclose(
        whitening.T @ whitening, expected, atol=1e-3 * expected.max()
    )


# -- the memory ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def memory(levels, fitted):
    gallery = [jnp.asarray(level) for level in levels]
    moments = level_moments(fitted)
    return lambda *sizes: np.asarray(
        jax.jit(lambda x: fit_memory(x, moments, *sizes))(gallery)
    )


def test_with_room_for_all_the_memory_is_all_descriptors(memory, descriptors):
    found = memory(COUNT * PLACES + 1, 10**6, 0)
    assert found.shape == (COUNT * PLACES, descriptors.shape[-1])
    apart = np.linalg.norm(found[:, None] - descriptors.reshape(-1, 8)[None], axis=-1)
    assert apart.min(axis=0).max() < 0.01
    assert apart.min(axis=1).max() < 0.01


def test_the_memory_covers_the_candidates_best(memory, descriptors):
    """All descriptors are candidates: what is chosen is what greedy chooses of them."""
    points = descriptors.reshape(-1, 8)
    chosen = points[np.asarray(greedy_k_center(jnp.asarray(points, jnp.float32), 9))]
    found = memory(9, 10**6, 0)
    # The order of the candidates is drawn, and so is that of centers equally far away.
    apart = np.linalg.norm(found[:, None] - chosen[None], axis=-1)
    np.testing.assert_array_equal(apart.argmin(axis=1), np.arange(9))
    assert apart.min(axis=1).max() < 0.01


def test_the_seed_draws_the_candidates(memory):
    """Of each image as many, so that no image goes without."""
    one, again, other = (memory(100, 3 * COUNT, seed) for seed in (0, 0, 1))
    assert one.shape == (3 * COUNT, 8)
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)
    assert memory(100, 1, 0).shape == (COUNT, 8)
