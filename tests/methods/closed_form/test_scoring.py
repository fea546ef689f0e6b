"""How raw maps become A, by numbers that can be checked by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.data.resize import upsample
from gcad_jax.methods.closed_form.scoring import (
    GLOBAL,
    LOCAL,
    by_level,
    combine,
    gallery_of,
    level_moments,
    moments_of,
    normalize,
    sum_of_levels,
)


def test_normalized_validation_values_have_mean_0_and_deviation_1():
    # Far from 0, where single precision would lose the deviation.
    values = np.random.default_rng(0).normal(300, 0.1, (6, 5, 4)).astype(np.float32)
    pair = moments_of(values)
    normalized = np.asarray(normalize(jnp.asarray(values), pair), np.float64)
    np.testing.assert_allclose(normalized.mean(), 0, atol=1e-3)
    np.testing.assert_allclose(normalized.std(), 1, rtol=1e-3)
    other = normalize(jnp.float32(values.mean() + 2 * values.std()), pair)
    np.testing.assert_allclose(other, 2, rtol=1e-3)


def test_values_that_are_all_one_stay_finite():
    pair = moments_of(np.full((3, 2, 2), 5.0))
    np.testing.assert_array_equal(normalize(jnp.full((1, 2, 2), 5.0), pair), 0)
    assert np.all(np.isfinite(normalize(jnp.full((1, 2, 2), 6.0), pair)))


def test_levels_are_normalized_each_and_added_on_the_finest_grid():
    draw = np.random.default_rng(0)
    fine = draw.normal(9, 4, (3, 4, 6)).astype(np.float32)
    coarse = draw.normal(2, 3, (3, 2, 3)).astype(np.float32)
    maps = by_level([fine, coarse]) | {GLOBAL: np.ones((3, 4, 6))}
    pairs = {name: moments_of(values) for name, values in maps.items()}
    found = sum_of_levels(maps, pairs)
    expected = np.stack(
        [
            (a - fine.mean()) / fine.std()
            + upsample((b - coarse.mean()) / coarse.std(), 4, 6)
            for a, b in zip(fine, coarse, strict=True)
        ]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("w", [0.0, 0.3, 1.0])
def test_branches_are_weighed(w):
    branches = {LOCAL: jnp.full((1, 2, 2), 10.0), GLOBAL: jnp.full((1, 2, 2), 20.0)}
    found = combine(branches, jnp.float32(w))
    np.testing.assert_allclose(found, 20 * w + 10 * (1 - w), rtol=1e-6)


def test_the_gallery_is_standardized_as_it_is_read():
    draw = np.random.default_rng(0)
    levels = [draw.normal(5, 2, (4, *shape)) for shape in ((2, 3, 6), (1, 2, 3))]
    moments = [
        {"mean": jnp.asarray(level.mean(axis=(0, 1, 2)), jnp.float32)}
        | {"std": jnp.asarray(level.std(axis=(0, 1, 2)), jnp.float32)}
        for level in levels
    ]
    halves = by_level([jnp.asarray(level, jnp.float16) for level in levels])
    frozen = {
        "moments": by_level(moments) | {"pooled": moments[0]},
        "gallery": halves,
    }
    assert len(level_moments(frozen)) == 2
    rows = jnp.asarray([3, 1])
    for level, images_of in zip(levels, gallery_of(frozen), strict=True):
        expected = (level - level.mean(axis=(0, 1, 2))) / level.std(axis=(0, 1, 2))
        np.testing.assert_allclose(images_of(rows), expected[[3, 1]], atol=5e-3)
