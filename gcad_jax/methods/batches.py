"""A compiled function over many images, in batches of one fixed shape."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.data.arrays import to_float
from gcad_jax.types import Images, ImagesU8, Tree


def each_batch(
    function: Callable[[Images], Tree], images: ImagesU8, batch_size: int
) -> Iterator[Tree]:
    """What `function` returns for one batch after the other, on the device.

    function: (B, H, W, C) float32 in [0, 1] -> tree of arrays with leading axis B;
        jit it, so that it compiles once: the last batch is filled up by repeating
        its last image, and what it returned for the repeats is dropped.
    images: (N, H, W, C) uint8.
    """
    batch_size = min(batch_size, len(images))
    for start in range(0, len(images), batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), len(images) - 1)
        results = function(to_float(jnp.asarray(images[rows])))
        kept = min(batch_size, len(images) - start)
        if kept < batch_size:
            results = jax.tree.map(lambda leaf, k=kept: leaf[:k], results)
        yield results


def in_batches(
    function: Callable[[Images], Tree], images: ImagesU8, batch_size: int
) -> Tree:
    """`each_batch`, stacked on the host: NumPy arrays with leading axis N."""
    parts = [jax.device_get(part) for part in each_batch(function, images, batch_size)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
