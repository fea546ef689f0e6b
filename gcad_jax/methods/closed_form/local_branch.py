"""The local branch: how far each place is from anything that good images show.

Two of them. `retrieval_maps` looks among the training images that are alike as a whole,
for each level by itself; `memory_map` looks in one memory of descriptors that cover all
training images, chosen by `greedy_k_center`.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from gcad_jax.core.types import AnomalyMaps, Array, Features
from gcad_jax.methods.common.nearest import nearest_squared_distances

FULL = jax.lax.Precision.HIGHEST


def nearest_rows(pooled: Array, training: Array, K: int) -> Array:
    """The K training images nearest to each of B images: (B, F), (N, F) -> (B, K)."""
    products = jnp.matmul(pooled, training.T, precision=FULL)
    squared = jnp.sum(jnp.square(training), axis=-1)[None] - 2 * products
    _, rows = jax.lax.top_k(-squared, K)
    return rows


def retrieval_maps(
    levels: Sequence[Features],
    gallery: Sequence[Callable[[Array], Array]],
    rows: Array,
) -> tuple[AnomalyMaps, ...]:
    """For each level the distance of each place from the nearest one in the neighbors.

    levels: (B, h, w, C) standardized. gallery: for each level what gives the training
    images of row numbers, (K,) -> (K, h, w, C) standardized. rows: (B, K).
    """

    def maps_of_image(inputs: tuple[tuple[Array, ...], Array]) -> tuple[Array, ...]:
        of_image, neighbors = inputs
        return tuple(
            _nearest(level, images_of(neighbors))
            for level, images_of in zip(of_image, gallery, strict=True)
        )

    # Image by image, so that the neighbors of one are all that is held.
    return jax.lax.map(maps_of_image, (tuple(levels), rows))


def memory_map(descriptors: Features, memory: Array) -> AnomalyMaps:
    """The distance of each place from the memory: (B, h, w, D), (M, D) -> (B, h, w)."""
    return jax.lax.map(lambda x: _nearest(x, memory), descriptors)


def _nearest(places: Array, gallery: Array) -> Array:  # (h, w, C), (..., C) -> (h, w)
    height, width, size = places.shape
    squared = nearest_squared_distances(
        places.reshape(-1, size), gallery.reshape(-1, size)
    )
    return jnp.sqrt(squared).reshape(height, width)


def greedy_k_center(points: Array, count: int) -> Array:
    """Rows of `count` points that cover all others: (N, D) -> (count,) int32.

    The first is the one nearest to the mean; each next is the one farthest from all
    before it (Gonzalez, Theoretical Computer Science 38, 1985), so that no point is
    farther from its nearest than twice the least that is possible. One scan.
    """
    points = points.astype(jnp.float32)
    squares = jnp.sum(jnp.square(points), axis=-1)

    def distances(center: Array) -> Array:  # (D,) -> (N,) squared
        # A product, of which XLA on CPU does three in the time of a sum of squares.
        products = jnp.matmul(points, center, precision=FULL)
        return squares - 2 * products + jnp.sum(jnp.square(center))

    first = jnp.argmin(distances(jnp.mean(points, axis=0)))

    def add_farthest(
        state: tuple[Array, Array], _: None
    ) -> tuple[tuple[Array, Array], Array]:
        nearest, row = state
        # Never again, also where all that is left are copies of it.
        nearest = jnp.minimum(nearest, distances(points[row])).at[row].set(-jnp.inf)
        return (nearest, jnp.argmax(nearest)), row

    start = jnp.full(len(points), jnp.inf), first
    _, rows = jax.lax.scan(add_farthest, start, None, length=count)
    return rows.astype(jnp.int32)
