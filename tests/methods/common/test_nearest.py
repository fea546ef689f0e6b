"""Nearest neighbors in pieces against the search through all pairs in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.methods.common import nearest
from gcad_jax.methods.common.nearest import nearest_squared_distances

DRAW = np.random.default_rng(0)


def by_hand(queries, gallery):
    """Float64, every pair."""
    apart = np.float64(queries)[:, None] - np.float64(gallery)[None]
    return np.sum(np.square(apart), axis=-1).min(axis=1)


# Products that are held at once: fewer than queries, which makes pieces of one
# row; pieces that leave a rest, and that leave none; and all in one.
@pytest.mark.parametrize(
    ("products", "queries", "count"),
    [
        (1, 5, 7),
        (13, 13, 2),
        (30, 13, 7),
        (30, 13, 64),
        (64, 1, 64),
        (64, 5, 65),
        (2**20, 13, 64),
        (2**20, 1, 1),
    ],
)
def test_pieces_find_what_all_pairs_do(monkeypatch, products, queries, count):
    monkeypatch.setattr(nearest, "PRODUCTS", products)
    x = DRAW.normal(size=(queries, 9)).astype(np.float32)
    gallery = DRAW.normal(size=(count, 9)).astype(np.float32)
    found = nearest_squared_distances(jnp.asarray(x), jnp.asarray(gallery))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, by_hand(x, gallery), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("products", [40, 2**20])
def test_halves_are_compared_as_the_numbers_they_are(monkeypatch, products):
    """Squares and products are those of float32, where halves would lose them."""
    monkeypatch.setattr(nearest, "PRODUCTS", products)
    x = 200 * DRAW.normal(size=(6, 33)).astype(np.float32)
    gallery = (200 * DRAW.normal(size=(17, 33))).astype(np.float16)
    found = nearest_squared_distances(jnp.asarray(x), jnp.asarray(gallery))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, by_hand(x, gallery), rtol=1e-5)


def test_a_point_of_the_gallery_is_at_no_distance_and_never_below():
    gallery = (100 + DRAW.normal(size=(50, 64))).astype(np.float32)
    found = np.asarray(jax.jit(nearest_squared_distances)(gallery[:20], gallery))
    assert np.all(found >= 0)
    # The difference of numbers of 640,000: a few units in the last place.
    assert found.max() < 1.0
    assert by_hand(gallery[:20] + 1, gallery).min() > 30
