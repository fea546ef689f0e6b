"""Names of the mapped axes, the collectives that methods may use, and accelerators.

A train step is written for one device. `BATCH` is the axis over which a batch is
split; every gradient, every logged number and every batch statistic crosses it
through `mean_over_batch`; sums and maxima are for a memory that is learned. `SEED` is
the leading axis of everything that differs between seeds; nothing ever crosses it.
"""

from typing import TypeVar

import jax

BATCH = "batch"
SEED = "seed"

T = TypeVar("T")


def mean_over_batch(tree: T) -> T:
    """Mean of every leaf over the devices that share a batch; needs axis `BATCH`."""
    return jax.lax.pmean(tree, BATCH)


def sum_over_batch(tree: T) -> T:
    """Sum of every leaf over the devices that share a batch; needs axis `BATCH`."""
    return jax.lax.psum(tree, BATCH)


def max_over_batch(tree: T) -> T:
    """Maximum of every leaf over these devices; needs axis `BATCH`."""
    return jax.lax.pmax(tree, BATCH)


def accelerators() -> list[jax.Device]:
    """Devices of this process that are no CPU: those that share independent work."""
    return [d for d in jax.local_devices() if d.platform != "cpu"]
