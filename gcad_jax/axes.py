"""Names of the mapped axes, and the one collective that methods may use.

A train step is written for one device. `BATCH` is the axis over which a batch is
split; every gradient, every logged number and every batch statistic crosses it
through `mean_over_batch`. `SEED` is the leading axis of everything that differs
between seeds; nothing ever crosses it.
"""

from typing import TypeVar

import jax

BATCH = "batch"
SEED = "seed"

T = TypeVar("T")


def mean_over_batch(tree: T) -> T:
    """Mean of every leaf over the devices that share a batch; needs axis `BATCH`."""
    return jax.lax.pmean(tree, BATCH)
