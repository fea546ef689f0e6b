"""Neighbors and the memory against searches through everything in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.methods.closed_form.local_branch import (
    greedy_k_center,
    memory_map,
    nearest_rows,
    retrieval_maps,
)
from gcad_jax.methods.common import nearest

# Sides and sizes of two levels that divide nothing.
LEVELS = ((3, 5, 4), (2, 3, 7))
TRAINING, BATCH = 6, 3


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def closest(places, gallery):
    """Float64, every pair: (h, w, C), (..., C) -> (h, w)."""
    size = places.shape[-1]
    apart = np.float64(places.reshape(-1, 1, size)) - np.float64(
        gallery.reshape(1, -1, size)
    )
    return np.linalg.norm(apart, axis=-1).min(axis=1).reshape(places.shape[:2])


@pytest.mark.parametrize("K", [1, 4, TRAINING])
def test_neighbors_are_the_nearest_of_all(draw, K):
    training = draw.normal(size=(TRAINING, 9)).astype(np.float32)
    images = draw.normal(size=(BATCH, 9)).astype(np.float32)
    found = nearest_rows(jnp.asarray(images), jnp.asarray(training), K)
    apart = np.linalg.norm(images[:, None] - training[None], axis=-1)
    np.testing.assert_array_equal(found, np.argsort(apart, axis=1)[:, :K])


def test_a_training_image_is_the_first_of_its_neighbors(draw):
    training = draw.normal(size=(TRAINING, 9)).astype(np.float32)
    found = nearest_rows(jnp.asarray(training), jnp.asarray(training), 2)
    np.testing.assert_array_equal(found[:, 0], np.arange(TRAINING))


@pytest.mark.parametrize("products", [17, 64, 2**20])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_maps_are_distances_from_the_neighbors_alone(monkeypatch, draw, products, kind):
    monkeypatch.setattr(nearest, "PRODUCTS", products)
    levels = [draw.normal(size=(BATCH, *s)).astype(np.float32) for s in LEVELS]
    gallery = [draw.normal(size=(TRAINING, *s)).astype(kind) for s in LEVELS]
    rows = np.array([[0, 5], [3, 1], [2, 4]])
    maps = jax.jit(
        lambda levels, gallery, rows: retrieval_maps(
            levels, [lambda r, x=x: x[r] for x in gallery], rows
        )
    )(levels, gallery, rows)
    for level, of_training, found in zip(levels, gallery, maps, strict=True):
        assert found.shape == level.shape[:3]
        for i in range(BATCH):
            expected = closest(level[i], of_training[rows[i]])
            np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-3)


def test_a_place_is_compared_with_every_place(draw):
    """An image that was moved around is still all known."""
    gallery = jnp.asarray(draw.normal(size=(2, 4, 6, 5)), jnp.float32)
    moved = jnp.roll(gallery[:1], (1, 3), axis=(1, 2))
    rows = jnp.zeros((1, 1), jnp.int32)
    [found] = retrieval_maps([moved], [lambda rows: gallery[rows]], rows)
    np.testing.assert_allclose(found, 0, atol=5e-3)


def test_the_memory_is_searched_whole(draw):
    memory = draw.normal(size=(11, 4)).astype(np.float32)
    x = draw.normal(size=(BATCH, 3, 5, 4)).astype(np.float32)
    found = memory_map(jnp.asarray(x), jnp.asarray(memory))
    for places, of_image in zip(x, found, strict=True):
        np.testing.assert_allclose(
            of_image, closest(places, memory), rtol=1e-4, atol=1e-3
        )


# -- the choice of the memory ------------------------------------------------------


def radius(points, rows):
    """How far the farthest point is from the nearest of the chosen ones."""
    apart = np.linalg.norm(points[:, None] - points[list(rows)][None], axis=-1)
    return apart.min(axis=1).max()


def greedy_by_hand(points, count):
    """One center after the other, all distances anew each time."""
    points = np.float64(points)
    mean = points.mean(axis=0)
    rows = [int(np.argmin(np.linalg.norm(points - mean, axis=1)))]
    while len(rows) < count:
        apart = np.linalg.norm(points[:, None] - points[rows][None], axis=-1)
        rows.append(int(np.argmax(apart.min(axis=1))))
    return rows


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_centers_are_those_of_greedy_by_hand(draw, count):
    points = draw.normal(size=(30, 4)).astype(np.float32)
    rows = jax.jit(greedy_k_center, static_argnums=1)(points, count)
    assert rows.dtype == jnp.int32
    assert rows.tolist() == greedy_by_hand(points, count)
    assert len(set(rows.tolist())) == count


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_radius_is_at_most_twice_the_least_possible(draw, count):
    points = draw.random(size=(9, 2)).astype(np.float32)
    best = min(radius(points, rows) for rows in itertools.combinations(range(9), count))
    found = radius(points, greedy_k_center(jnp.asarray(points), count).tolist())
    assert best <= found <= 2 * best


def test_as_many_centers_as_clusters_find_one_in_each(draw):
    middles = 100 * np.arange(5)[:, None]
    points = (middles + draw.random(size=(5, 8))).reshape(-1, 1)
    rows = greedy_k_center(jnp.asarray(points, jnp.float32), 5)
    assert sorted(rows // 8) == list(range(5))


def test_halves_are_compared_in_single_precision(draw):
    points = (300 + 100 * draw.random(size=(20, 50))).astype(np.float16)
    rows = greedy_k_center(jnp.asarray(points), 6)
    assert rows.tolist() == greedy_by_hand(points, 6)


def test_greedy_k_center_takes_no_point_twice_where_all_are_alike():
    points = jnp.asarray(np.repeat(np.eye(2, 3), 3, axis=0), jnp.float32)
    rows = greedy_k_center(points, 5)
    assert len(set(np.asarray(rows).tolist())) == 5
