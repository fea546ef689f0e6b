"""The maps of a network as levels: pooled, on one grid, standardized."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gcad_jax.core.types import Array, Features

EPS = 1e-6  # deviation that is divided by at least
RARE = 1e-3  # of the mean deviation of a level: a channel that hardly ever says a thing


class Moments(NamedTuple):
    """Mean and deviation of each channel, (C,) float32 each."""

    mean: Array
    std: Array

    def standardize(self, x: Array) -> Array:
        """(..., C) of any type, float32."""
        of_channel = (None,) * (x.ndim - 1)
        apart = x.astype(jnp.float32) - self.mean[of_channel]
        return apart / self.std[of_channel]


def average_pool(features: Features, step: int) -> Features:
    """(B, H, W, C) -> (B, H/step, W/step, C), means of step x step places.

    Odd sides lose their last row or column.
    """
    if step == 1:
        return features
    batch, height, width, size = features.shape
    height, width = height // step, width // step
    features = features[:, : height * step, : width * step]
    shape = (batch, height, step, width, step, size)
    return jnp.mean(features.reshape(shape), axis=(2, 4))


def concatenate_levels(levels: tuple[Features, ...]) -> Features:
    """All levels on the finest grid, (B, h, w, D); the coarser ones bilinearly."""
    shape = levels[0].shape[:3]
    return jnp.concatenate(
        [jax.image.resize(x, (*shape, x.shape[-1]), "bilinear") for x in levels],
        axis=-1,
    )


def fit_level_moments(level: Array) -> Moments:
    """Over all places of all training images (N, h, w, C) of any type."""
    per_image = jax.lax.map(
        lambda x: jnp.mean(x.astype(jnp.float32), axis=(0, 1)), level
    )
    mean = jnp.mean(per_image, axis=0)
    of_place = mean[None, None]
    # From the mean, not as a difference of squares, which would lose digits.
    squares = jax.lax.map(
        lambda x: jnp.mean(jnp.square(x.astype(jnp.float32) - of_place), axis=(0, 1)),
        level,
    )
    return Moments(mean, _floored(jnp.sqrt(jnp.mean(squares, axis=0))))


def fit_pooled_moments(pooled: Array) -> Moments:
    """Over the training images (N, F)."""
    return Moments(jnp.mean(pooled, axis=0), _floored(jnp.std(pooled, axis=0)))


def _floored(std: Array) -> Array:
    return jnp.maximum(std, jnp.maximum(RARE * jnp.mean(std), EPS))
