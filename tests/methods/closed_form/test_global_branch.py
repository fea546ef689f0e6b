"""The regression against NumPy, and against fits that really left an image out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.linalg import inv, svd

from gcad_jax.methods.closed_form import global_branch
from gcad_jax.methods.closed_form.global_branch import (
    CHUNK,
    fit_bottleneck,
    fit_ridge,
    fit_whitening,
    lengths,
    leverages,
)

G, HEIGHT, WIDTH, SIZE = 3, 2, 4, 5
PLACES = HEIGHT * WIDTH
SHRINKAGE = 0.02


def data(count, g=G):
    """Codes (N, g) of mean 0, and descriptors (N, h, w, D) that they explain in part.

    The means of places and the scales of channels differ.
    """
    draw = np.random.default_rng(count)
    codes = draw.normal(size=(count, g))
    codes -= codes.mean(axis=0)
    mixing = draw.normal(size=(g, HEIGHT, WIDTH, SIZE))
    noise = draw.normal(size=(count, HEIGHT, WIDTH, SIZE))
    means = draw.normal(size=(HEIGHT, WIDTH, SIZE))
    x = np.tensordot(codes, mixing, 1) + means + noise
    return codes.astype(np.float32), (x * [0.2, 1, 1, 2, 3]).astype(np.float32)


def regress(codes, x, penalty):
    """Float64: intercept (h, w, D) without a penalty, and coefficients (g, h, w, D).

    The codes need not have mean 0: the design has a column of ones.
    """
    design = np.column_stack([np.ones(len(codes)), np.float64(codes)])
    of_penalty = penalty * np.eye(design.shape[1])
    of_penalty[0, 0] = 0
    solver = inv(design.T @ design + of_penalty) @ design.T
    solution = np.tensordot(solver, np.float64(x), 1)
    return solution[0], solution[1:], design @ solver


def fitted(codes, x, penalty, shrinkage=SHRINKAGE):
    x = jnp.asarray(x)
    return jax.jit(lambda z: fit_ridge(z, lambda rows: x[rows], penalty, shrinkage))(
        codes
    )


def left_out_residuals(codes, x, penalty):
    """Each image by a regression that was fitted without it, (N, h, w, D)."""
    residuals = []
    for i in range(len(codes)):
        others = np.arange(len(codes)) != i
        mean, coefficients, _ = regress(codes[others], x[others], penalty)
        expected = mean + np.tensordot(np.float64(codes[i]), coefficients, 1)
        residuals.append(x[i] - expected)
    return np.stack(residuals)


@pytest.fixture(params=[0.5, 30.0])
def penalty(request):
    return request.param


# Fewer images than are held at once, as many, and some more.
@pytest.fixture(params=[5, CHUNK, 2 * CHUNK + 3])
def count(request):
    return request.param


def test_the_regression_is_numpys(count, penalty):
    codes, x = data(count)
    ridge = fitted(codes, x, penalty)
    mean, coefficients, hat = regress(codes, x, penalty)
    np.testing.assert_allclose(ridge.mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ridge.coefficients, coefficients, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(leverages(codes, penalty), np.diag(hat), rtol=1e-5)
    expected = x - np.tensordot(hat, np.float64(x), 1)
    found = ridge.residuals(jnp.asarray(codes), jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_residuals_over_one_minus_h_are_those_of_images_left_out(count, penalty):
    codes, x = data(count)
    residuals = fitted(codes, x, penalty).residuals(jnp.asarray(codes), jnp.asarray(x))
    factors = 1 / (1 - np.asarray(leverages(codes, penalty)))
    np.testing.assert_allclose(
        residuals * factors[:, None, None, None],
        left_out_residuals(codes, x, penalty),
        rtol=1e-4,
        atol=2e-5,
    )


def test_explained_variance_is_of_images_left_out(count, penalty):
    """All descriptors of one image at a time, about 0, the mean of each channel."""
    codes, x = data(count)
    missed = np.sum(np.square(left_out_residuals(codes, x, penalty)))
    expected = 1 - missed / np.sum(np.square(np.float64(x)))
    found = fitted(codes, x, penalty).explained_variance
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_what_the_mean_of_each_place_explains_alone(count):
    codes, x = data(count)
    x = np.float64(x)
    total = x.sum(axis=0)
    apart = np.stack([image - (total - image) / (count - 1) for image in x])
    expected = 1 - np.sum(apart**2) / np.sum(x**2)
    found = fitted(codes, x.astype(np.float32), 1.0).explained_by_mean
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_explained_variance_tells_what_the_codes_say():
    codes, _ = data(40)
    draw = np.random.default_rng(0)
    mixing = 5 * draw.normal(size=(G, HEIGHT, WIDTH, SIZE))
    noise = draw.normal(size=(40, HEIGHT, WIDTH, SIZE)).astype(np.float32)
    known = np.tensordot(codes, mixing, 1).astype(np.float32)
    explained = [
        float(fitted(codes, x, 0.01).explained_variance)
        for x in (known, known + noise, noise)
    ]
    assert explained[0] > 0.9999
    assert 0.9 < explained[1] < 0.999
    # Worse than the mean of the channel: left-out images show overfitting.
    assert explained[2] < 0


def test_whitened_residuals_of_images_left_out_have_the_identity(count, penalty):
    codes, x = data(count)
    left_out = left_out_residuals(codes, x, penalty).reshape(-1, SIZE)
    covariance = left_out.T @ left_out / len(left_out)
    added = SHRINKAGE * np.trace(covariance) / SIZE
    whitening = np.float64(fitted(codes, x, penalty).whitening)
    shrunk = inv(covariance + added * np.eye(SIZE))
    np.testing.assert_allclose(whitening.T @ whitening, shrunk, rtol=2e-4, atol=1e-5)
    # With next to nothing added they have variance 1, and no two are correlated.
    whitening = np.float64(fitted(codes, x, penalty, 1e-7).whitening)
    white = left_out @ whitening.T
    found = white.T @ white / len(white)
    np.testing.assert_allclose(found, np.eye(SIZE), atol=2e-3)


def test_the_map_is_the_mahalanobis_distance_of_the_residual():
    codes, x = data(12)
    ridge = fitted(codes[:10], x[:10], 1.0)
    residuals = np.float64(
        ridge.residuals(jnp.asarray(codes[10:]), jnp.asarray(x[10:]))
    )
    whitening = np.float64(ridge.whitening)
    inverse = whitening.T @ whitening
    expected = np.sqrt(np.einsum("bhwd,de,bhwe->bhw", residuals, inverse, residuals))
    found = ridge.anomaly_map(jnp.asarray(codes[10:]), jnp.asarray(x[10:]))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("shrinkage", [1e-4, 0.01, 1.0])
def test_whitening_is_a_root_of_the_inverse(shrinkage):
    rows = np.random.default_rng(0).normal(size=(50, 6)) @ np.diag([1, 1, 2, 3, 4, 5.0])
    covariance = rows.T @ rows / 50
    shrunk = covariance + shrinkage * np.trace(covariance) / 6 * np.eye(6)
    found = np.float64(fit_whitening(jnp.asarray(covariance, jnp.float32), shrinkage))
    np.testing.assert_allclose(
        found.T @ found, inv(shrunk), rtol=1e-3, atol=1e-4 * inv(shrunk).max()
    )
    vectors = np.random.default_rng(1).normal(size=(7, 6))
    expected = np.sqrt(np.einsum("ni,ij,nj->n", vectors, inv(shrunk), vectors))
    lengths_found = lengths(jnp.asarray(vectors, jnp.float32), jnp.float32(found))
    np.testing.assert_allclose(lengths_found, expected, rtol=1e-3)


def test_whitening_of_fewer_rows_than_numbers_and_of_nothing_is_finite():
    rows = np.random.default_rng(0).normal(size=(3, 40))
    for covariance in (rows.T @ rows / 3, np.zeros((40, 40))):
        whitening = fit_whitening(jnp.asarray(covariance, jnp.float32), 0.01)
        assert np.all(np.isfinite(whitening))


# -- the bottleneck ----------------------------------------------------------------


# More features than images, which are then of less than full rank, and fewer.
@pytest.mark.parametrize(("images", "features", "g"), [(9, 40, 4), (60, 7, 7)])
def test_codes_are_whitened_principal_components(images, features, g):
    draw = np.random.default_rng(0)
    scales = np.geomspace(3, 0.3, features)
    pooled = (5 + draw.normal(size=(images, features)) * scales).astype(np.float32)
    bottleneck = jax.jit(fit_bottleneck, static_argnums=1)(pooled, g)
    codes = np.float64(bottleneck(jnp.asarray(pooled)))
    assert codes.shape == (images, g)
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(codes.T @ codes / images, np.eye(g), atol=1e-3)
    apart = np.float64(pooled) - np.float64(pooled).mean(axis=0)
    left, _, right = svd(apart, full_matrices=False)
    # Of each component the sign is free; the order is that of the variances.
    agreement = codes.T @ left[:, :g] / np.sqrt(images)
    np.testing.assert_allclose(np.abs(agreement), np.eye(g), atol=5e-3)
    # Another image: what lies along a component counts, in its deviations.
    new = draw.normal(size=(1, features)).astype(np.float32)
    found = bottleneck(jnp.asarray(new))
    along = (new - pooled.mean(axis=0, dtype=np.float64)) @ right[:g].T
    deviations = svd(apart, compute_uv=False)[:g] / np.sqrt(images)
    np.testing.assert_allclose(
        np.abs(np.float64(found)), np.abs(along / deviations), rtol=5e-3, atol=5e-3
    )


def test_a_component_without_variance_stays_small():
    """Two images that differ, asked for three numbers: two of them say nothing."""
    pooled = np.repeat(np.random.default_rng(0).normal(size=(2, 6)), 3, axis=0)
    bottleneck = fit_bottleneck(jnp.asarray(pooled, jnp.float32), 3)
    codes = np.asarray(bottleneck(jnp.asarray(pooled, jnp.float32)))
    np.testing.assert_allclose(np.abs(codes[:, 0]), 1, rtol=1e-3)
    assert np.abs(codes[:, 1:]).max() < 0.01


def test_images_that_are_all_alike_fit_without_a_number_that_is_none():
    codes = jnp.zeros((4, 2))
    x = np.ones((4, HEIGHT, WIDTH, SIZE), np.float32)
    ridge = fitted(codes, x, 1.0)
    assert all(np.all(np.isfinite(leaf)) for leaf in ridge)
    np.testing.assert_allclose(ridge.anomaly_map(codes, jnp.asarray(x)), 0, atol=1e-3)


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_chunks_hold_every_row_once(count):
    rows, used = map(np.asarray, global_branch._chunks(count))
    assert rows.shape == used.shape
    assert rows.shape[1] == CHUNK
    np.testing.assert_array_equal(rows[used > 0], np.arange(count))
    assert rows.max() < count
