"""The global branch: what an image as a whole says its places should look like.

In GCAD's terms E_glo is the projection of the pooled deep features on g numbers, and U
and R_glo in one are the ridge regression from these to the descriptor of every place.
What it misses on unseen images is known without any: given the codes, the residual of a
training image that was left out is residual / (1 - h), exactly, with h from the hat
matrix. (The components behind the codes have seen that image.)
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gcad_jax.core.types import AnomalyMaps, Array, Features

FULL = jax.lax.Precision.HIGHEST
TINY = 1e-12  # variance that is added, where nothing varies
CHUNK = 8  # training images that are held as float32 at once

# Of the residuals' products (D, D), and of squared descriptors about the mean of their
# place and of their channel, () each.
Sums: TypeAlias = tuple[Array, Array, Array]


class Bottleneck(NamedTuple):
    """Pooled features to g numbers: center (F,), projection (F, g)."""

    center: Array
    projection: Array

    def __call__(self, pooled: Array) -> Array:  # (B, F) -> (B, g)
        """Uncorrelated over the training images, each of variance 1."""
        return jnp.matmul(pooled - self.center[None], self.projection, precision=FULL)


def fit_bottleneck(pooled: Array, g: int) -> Bottleneck:
    """The g principal components of the training images (N, F), whitened; g < N."""
    center = jnp.mean(pooled, axis=0)
    apart = pooled - center[None]
    covariance = jnp.matmul(apart.T, apart, precision=FULL) / len(pooled)
    values, vectors = jnp.linalg.eigh(covariance)  # ascending
    values, vectors = values[-g:][::-1], vectors[:, -g:][:, ::-1]
    # A component without variance says nothing, and must not be blown up to 1.
    floor = jnp.maximum(1e-6 * values[0], TINY)
    return Bottleneck(center, vectors / jnp.sqrt(jnp.maximum(values, floor))[None])


class Ridge(NamedTuple):
    """The regression, and how its residuals are weighed.

    mean: (h, w, D), of each place. coefficients: (g, h, w, D).
    whitening: (D, D); |whitening r| is the Mahalanobis distance of a residual.
    explained_variance: () of the descriptors of training images that were left out,
        about the mean of each channel; 1 where all of it is explained.
    explained_by_mean: () the same of the mean of each place alone, without codes.
    """

    mean: Array
    coefficients: Array
    whitening: Array
    explained_variance: Array
    explained_by_mean: Array

    def residuals(self, codes: Array, descriptors: Features) -> Features:
        """(B, g), (B, h, w, D) -> (B, h, w, D)."""
        expected = jnp.tensordot(codes, self.coefficients, 1, precision=FULL)
        return descriptors - self.mean[None] - expected

    def anomaly_map(self, codes: Array, descriptors: Features) -> AnomalyMaps:
        """A_glo before normalization: the whitened residual's length, (B, h, w)."""
        return lengths(self.residuals(codes, descriptors), self.whitening)


def lengths(vectors: Array, whitening: Array) -> Array:  # (..., D), (D, D) -> (...)
    """Mahalanobis distances from 0."""
    whitened = jnp.matmul(vectors, whitening.T, precision=FULL)
    return jnp.sqrt(jnp.sum(jnp.square(whitened), axis=-1))


def leverages(codes: Array, penalty: float) -> Array:
    """H of each training image, the diagonal of the hat matrix: (N, g) -> (N,).

    codes: of mean 0. The intercept is not penalized, which adds 1 / N.
    """
    gram = _penalized_gram(codes, penalty)
    solved = jnp.linalg.solve(gram, codes.T).T
    return 1 / len(codes) + jnp.sum(codes * solved, axis=-1)


def _penalized_gram(codes: Array, penalty: float) -> Array:  # (N, g) -> (g, g)
    gram = jnp.matmul(codes.T, codes, precision=FULL)
    return gram + penalty * jnp.eye(codes.shape[1])


def fit_ridge(
    codes: Array,
    descriptors_of: Callable[[Array], Features],
    penalty: float,
    shrinkage: float,
) -> Ridge:
    """The ridge regression from codes to descriptors, and its left-out residuals.

    codes: (N, g) of mean 0. descriptors_of: row numbers (b,) -> (b, h, w, D), asked
    twice for each training image, a few at a time, so that memory does not grow with N.
    penalty: on the squared coefficients. shrinkage: share of the mean variance that is
    added to the covariance of the residuals.
    """
    count = len(codes)
    chunks = _chunks(count)
    to_mean = jnp.full((count, 1), 1 / count)
    # (Z'Z + penalty)^-1 Z', and the mean as one row more.
    solver = jnp.linalg.solve(_penalized_gram(codes, penalty), codes.T).T
    weights = jnp.concatenate([to_mean, solver], axis=1)

    def add_products(sums: Array, chunk: tuple[Array, Array]) -> tuple[Array, None]:
        rows, used = chunk
        x = descriptors_of(rows)
        w = weights[rows] * used[:, None]
        return sums + jnp.tensordot(w.T, x, 1, precision=FULL), None

    shape = jax.eval_shape(descriptors_of, chunks[0][0]).shape[1:]
    start = jnp.zeros((codes.shape[1] + 1, *shape))
    sums, _ = jax.lax.scan(add_products, start, chunks)
    # The codes have mean 0, so that the mean takes no part in the coefficients.
    nothing = jnp.float32(0)
    regression = Ridge(sums[0], sums[1:], jnp.eye(shape[-1]), nothing, nothing)
    factors = 1 / (1 - leverages(codes, penalty))

    def add_squares(sums: Sums, chunk: tuple[Array, Array]) -> tuple[Sums, None]:
        rows, used = chunk
        x = descriptors_of(rows)
        used = used[:, None, None, None]
        factor = factors[rows][:, None, None, None]
        left_out = regression.residuals(codes[rows], x) * factor * used
        flat = left_out.reshape(-1, shape[-1])
        products = jnp.matmul(flat.T, flat, precision=FULL)
        apart = (x - regression.mean[None]) * used / (1 - 1 / count)
        of_chunk = products, jnp.sum(jnp.square(apart)), jnp.sum(jnp.square(x) * used)
        return jax.tree.map(jnp.add, sums, of_chunk), None

    start_squares = jnp.zeros((shape[-1], shape[-1])), nothing, nothing
    (products, apart, squares), _ = jax.lax.scan(add_squares, start_squares, chunks)
    squares = jnp.maximum(squares, TINY)
    return regression._replace(
        whitening=fit_whitening(products / (count * shape[0] * shape[1]), shrinkage),
        explained_variance=1 - jnp.trace(products) / squares,
        explained_by_mean=1 - apart / squares,
    )


def fit_whitening(covariance: Array, shrinkage: float) -> Array:  # (D, D) -> (D, D)
    """W with W'W the inverse of the covariance, a share of its mean variance added."""
    size = len(covariance)
    added = shrinkage * jnp.trace(covariance) / size + TINY
    lower = jnp.linalg.cholesky(covariance + added * jnp.eye(size))
    return jax.scipy.linalg.solve_triangular(lower, jnp.eye(size), lower=True)


def _chunks(count: int) -> tuple[Array, Array]:
    """Row numbers (n, CHUNK), the last one repeated, and 1 for each that counts."""
    rows = jnp.arange(-(-count // CHUNK) * CHUNK)
    used = (rows < count).astype(jnp.float32)
    rows = jnp.minimum(rows, count - 1)
    return rows.reshape(-1, CHUNK), used.reshape(-1, CHUNK)
