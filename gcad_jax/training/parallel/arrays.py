"""Arrays between host and devices: copies in both directions, and typed PRNG keys."""

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from gcad_jax.core.types import Array


def is_key(leaf: Any) -> bool:
    """Whether an array holds typed PRNG keys, which NumPy cannot."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def key_data(leaf: Any) -> Any:
    """The uint32 words of typed keys; any other array as it is."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def to_numpy(leaf: Any) -> np.ndarray:
    """What this process has of an array: all of it, or its shards of the first axis.

    May be a view of the array, which a donated one does not outlive.
    """
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return np.asarray(leaf)
    if leaf.is_fully_replicated:
        return np.asarray(leaf.addressable_data(0))
    shards = sorted(leaf.addressable_shards, key=lambda s: s.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def put(leaf: Any, sharding: NamedSharding) -> Array:
    """A fresh array on the devices; `leaf` is the same on every process."""
    if is_key(leaf):
        return jax.random.wrap_key_data(put(jax.random.key_data(leaf), sharding))
    # Through the host, a copy each: device_put may alias its source, and donation
    # then deletes it.
    data = to_numpy(leaf)
    return jax.make_array_from_callback(
        data.shape, sharding, lambda index: np.array(data[index])
    )
