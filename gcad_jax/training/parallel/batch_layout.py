"""Every seed on every device, and each batch split over them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gcad_jax.core import multihost
from gcad_jax.core.axes import BATCH
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Tree
from gcad_jax.training.parallel.arrays import to_numpy
from gcad_jax.training.parallel.layout import Layout


@dataclasses.dataclass(frozen=True)
class BatchLayout(Layout):
    """Gradients are averaged across the devices: for large batches of few seeds."""

    kind = BATCH
    split_axis = 2  # of (K, S, B, ...)
    state_axis = None

    @property
    def num_seed_shards(self) -> int:
        """One: the states are the same everywhere."""
        return 1

    def fits(self, batch_size: int, num_seeds: int) -> bool:
        """Whether each device has equally many examples."""
        return batch_size % len(self.devices) == 0

    def check(self, field: str, batch_size: int, num_seeds: int) -> None:
        """Raises UserError unless it `fits`."""
        if self.fits(batch_size, num_seeds):
            return
        count = len(self.devices)
        fewer = "fewer devices with num_devices=N"
        if count == multihost.num_processes() > 1:
            fewer = "fewer hosts"
        raise UserError(
            f"{field} is {batch_size}, which {count} devices cannot share "
            f"evenly; choose a multiple of {count}, or {fewer}.",
            "num_devices",
        )

    def local_seeds(self, num_seeds: int) -> range:
        """All of them."""
        return range(num_seeds)

    def _with_batch_axis(self, step: Callable[..., Any]) -> Callable[..., Any]:
        return step  # it is the axis over which the step is mapped

    def states_to_device(self, states: Tree) -> Tree:
        """Leaves (S, ...) on every device."""
        return self.replicate(states)

    def metrics_to_host(self, metrics: Tree) -> Tree:
        """Leaves (K, S, ...) as NumPy arrays."""
        return jax.tree.map(to_numpy, metrics)

    def gather_seeds(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The values: each process has those of all seeds."""
        return values
