"""All that is learned of the training images: one program, and no gradients."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gcad_jax.core.types import Array, Features, Tree
from gcad_jax.methods.closed_form.global_branch import (
    fit_bottleneck,
    fit_ridge,
    fit_whitening,
)
from gcad_jax.methods.closed_form.local_branch import greedy_k_center
from gcad_jax.models.classifiers.levels import (
    Moments,
    concatenate_levels,
    fit_level_moments,
    fit_pooled_moments,
)

Levels = Sequence[Array]  # (N, h, w, C) each of any type, finest first


def fit(
    pooled: Array, levels: Levels, *, g: int, penalty: float, shrinkage: float
) -> Tree:
    """Moments, both parts of the global branch, and the scale of pooled features.

    pooled: (N, F). levels: as they lie in the gallery. Returns
      "moments": of "pooled" and "level_0", ...: mean and std, (C,) each;
      "pooled": (N, F) standardized;
      "pooled_whitening": (F, F), of the Mahalanobis distance of an image;
      "bottleneck", "ridge": as `global_branch` has them.
    """
    moments = [fit_level_moments(level) for level in levels]
    of_pooled = fit_pooled_moments(pooled)
    standardized = of_pooled.standardize(pooled)
    bottleneck = fit_bottleneck(standardized, g)
    apart = standardized - jnp.mean(standardized, axis=0)[None]
    covariance = jnp.matmul(apart.T, apart, precision=jax.lax.Precision.HIGHEST)
    ridge = fit_ridge(
        bottleneck(standardized),
        lambda rows: descriptors_of_rows(levels, moments, rows),
        penalty,
        shrinkage,
    )
    return {
        "moments": {"pooled": of_pooled._asdict()}
        | {f"level_{i}": m._asdict() for i, m in enumerate(moments)},
        "pooled": standardized,
        "pooled_whitening": fit_whitening(covariance / len(pooled), shrinkage),
        "bottleneck": bottleneck._asdict(),
        "ridge": ridge._asdict(),
    }


def descriptors_of_rows(
    levels: Levels, moments: Sequence[Moments], rows: Array
) -> Features:
    """Of the training images of row numbers (b,): (b, h, w, D) standardized."""
    taken = (level[rows] for level in levels)
    return concatenate_levels(
        tuple(m.standardize(x) for m, x in zip(moments, taken, strict=True))
    )


def fit_memory(
    levels: Levels, moments: Sequence[Moments], size: int, candidates: int, seed: int
) -> Array:
    """Descriptors that cover those of all training images, (size, D).

    Chosen by `greedy_k_center` among about so many candidates, of each image as many,
    which the seed draws; all of them where there are fewer.
    """
    count, height, width = levels[0].shape[:3]
    places = height * width
    each = max(1, min(places, candidates // count))

    def draw(inputs: tuple[Array, Array]) -> Array:  # -> (each, D)
        row, key = inputs
        x = descriptors_of_rows(levels, moments, row[None])
        drawn = jax.random.choice(key, places, (each,), replace=False)
        return x.reshape(places, -1)[drawn]

    keys = jax.random.split(jax.random.key(seed), count)
    points = jax.lax.map(draw, (jnp.arange(count), keys))
    points = points.reshape(count * each, -1)
    return points[greedy_k_center(points, min(size, len(points)))]
