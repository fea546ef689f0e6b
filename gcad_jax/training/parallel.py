"""Devices: the one place that maps a step over them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gcad_jax import checks
from gcad_jax.axes import BATCH
from gcad_jax.types import Array, Tree


def per_device(field: str, batch_size: int, num_devices: int) -> int:
    """Examples on each device; raises UserError unless the batch divides evenly."""
    if batch_size % num_devices:
        raise checks.UserError(
            f"{field} is {batch_size}, which {num_devices} devices cannot share "
            f"evenly; choose a multiple of {num_devices}, or fewer devices with "
            "--config.num_devices."
        )
    return batch_size // num_devices


def over_devices(step: Callable[..., Any], devices: Sequence[jax.Device]):  # type: ignore[no-untyped-def]
    """Maps `step(states, resources, rows)` over devices: layout BATCH.

    States and resources are the same on every device, rows (devices, K, S, b) are
    split. What is returned must be equal on all devices: gradients and metrics cross
    the axis inside. The states are donated.
    """
    return jax.pmap(
        step,
        axis_name=BATCH,
        in_axes=(None, None, 0),
        out_axes=None,
        donate_argnums=(0,),
        devices=devices,
    )


def replicated(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """A fresh copy of the tree on every device (a step may donate it)."""
    sharding = NamedSharding(Mesh(np.asarray(devices), (BATCH,)), PartitionSpec())
    return jax.tree.map(lambda leaf: _copy_to(leaf, sharding), tree)


def _copy_to(leaf: Array, sharding: NamedSharding) -> Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = jax.device_put(np.array(jax.random.key_data(leaf)), sharding)
        return jax.random.wrap_key_data(data)
    # Through the host: device_put may alias its source, and donation then deletes it.
    return jax.device_put(np.array(leaf), sharding)
