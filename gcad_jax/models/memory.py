"""MNAD's memory of prototypes: read, written, never a parameter (arXiv 2003.13228)."""

import jax
import jax.numpy as jnp

from gcad_jax.axes import max_over_batch, sum_over_batch
from gcad_jax.models.init import torch_default
from gcad_jax.types import Array, Key

SMALLEST = 1e-12  # norm that is divided by


def unit(x: Array) -> Array:  # (..., D) -> (..., D)
    """Divided by its Euclidean norm; finite, and with a gradient, at zero."""
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squares, SMALLEST**2))


def fresh(key: Key, items: int, size: int) -> Array:  # (M, D)
    """Random directions with entries of one sign, as published code draws them."""
    signed = torch_default(1)(key, (items, size))  # U(-1, 1)
    return unit((signed + 1) / 2)


def read(memory: Array, queries: Array) -> Array:  # (M, D), (Q, D) -> (Q, D)
    """Items weighted by their similarity to each query; no gradient flows."""
    weights = jax.nn.softmax(queries @ memory.T, axis=-1)
    return jax.lax.stop_gradient(weights @ memory)


def nearest_two(memory: Array, queries: Array) -> tuple[Array, Array]:
    """The items most similar to each query, and the second: (Q, D) each."""
    _, items = jax.lax.top_k(queries @ memory.T, 2)
    first, second = memory[items[:, 0]], memory[items[:, 1]]
    return jax.lax.stop_gradient((first, second))


def written(memory: Array, queries: Array) -> Array:  # (M, D), (Q, D) -> (M, D)
    """Each item moved to the queries that it is the nearest item of.

    m_i <- unit(m_i + sum of v_qi q over those queries), v_qi = exp(s_qi - max_q s_qi)
    with the similarities s of all queries of the batch, on all devices: the softmax
    over queries, divided by its maximum. An item without queries stays. Needs the
    axis `BATCH`; no gradient flows.
    """
    queries = jax.lax.stop_gradient(queries)
    similarity = queries @ memory.T  # (Q, M)
    mine = jnp.argmax(similarity, axis=1)[:, None] == jnp.arange(len(memory))[None]
    largest = max_over_batch(jnp.max(similarity, axis=0))
    weights = jnp.where(mine, jnp.exp(similarity - largest[None]), 0.0)
    moved = unit(memory + sum_over_batch(weights.T @ queries))
    used = sum_over_batch(jnp.sum(mine, axis=0)) > 0
    return jnp.where(used[:, None], moved, memory)
