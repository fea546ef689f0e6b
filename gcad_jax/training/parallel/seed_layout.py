"""The seeds split over the devices, each with whole batches of its own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from gcad_jax.core import multihost
from gcad_jax.core.axes import BATCH, SEED
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array, Tree
from gcad_jax.training.parallel.arrays import is_key, to_numpy
from gcad_jax.training.parallel.layout import Layout


@dataclasses.dataclass(frozen=True)
class SeedLayout(Layout):
    """Nothing crosses between the devices: for many seeds at a small batch.

    A program takes states (devices, S / devices, ...), and gives metrics
    (devices, K, S / devices).
    """

    kind = SEED
    split_axis = 1  # of (K, S, B, ...)
    state_axis = 0

    def misfit(self, field: str, batch_size: int, num_seeds: int) -> UserError | None:
        """Unless each device has equally many seeds."""
        count = len(self.devices)
        if num_seeds % count == 0:
            return None
        return UserError(
            f"{num_seeds} seeds cannot be split evenly over {count} devices; give "
            f"a multiple of {count} of them, fewer devices with num_devices=N, or "
            "layout=batch.",
            "num_devices",
            "layout",
        )

    def local_seeds(self, num_seeds: int) -> range:
        """Those of this process's devices, which stand together."""
        per_device, local = num_seeds // len(self.devices), self.local_devices
        first = self.devices.index(local[0])
        return range(first * per_device, (first + len(local)) * per_device)

    def _with_batch_axis(self, step: Callable[..., Any]) -> Callable[..., Any]:
        # The device is all there is of the axis; methods need not know.
        mapped = jax.vmap(
            step, in_axes=(None, None, 0), out_axes=None, axis_name=BATCH, axis_size=1
        )
        return lambda states, resources, examples: mapped(
            states, resources, examples[None]
        )

    def states_to_device(self, states: Tree) -> Tree:
        """(local seeds, ...) on the host -> (devices, S / devices, ...)."""
        return jax.tree.map(self._shard, states)

    def _shard(self, leaf: Array) -> Array:
        if is_key(leaf):
            return jax.random.wrap_key_data(self._shard(jax.random.key_data(leaf)))
        local = self.local_devices
        # A copy: a step may donate what is made of it.
        parts = np.array(to_numpy(leaf)).reshape(len(local), -1, *leaf.shape[1:])
        return jax.make_array_from_single_device_arrays(
            (len(self.devices), *parts.shape[1:]),
            self._sharding(PartitionSpec(SEED)),
            [
                jax.device_put(part[None], device)
                for part, device in zip(parts, local, strict=True)
            ],
        )

    def states_to_host(self, states: Tree) -> Tree:
        """(devices, S / devices, ...) -> (local seeds, ...), copied; keys as data."""
        return jax.tree.map(
            lambda leaf: leaf.reshape(-1, *leaf.shape[2:]),
            super().states_to_host(states),
        )

    def metrics_to_host(self, metrics: Tree) -> Tree:
        """(devices, K, S / devices, ...) -> (K, local seeds, ...)."""

        def join(leaf: Array) -> np.ndarray:
            joined = np.moveaxis(to_numpy(leaf), 0, 1)
            return joined.reshape(joined.shape[0], -1, *joined.shape[3:])

        return jax.tree.map(join, metrics)

    def gather_seeds(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Values (local seeds, ...) of each process -> (S, ...), on every one."""
        shards = multihost.all_gather(values)
        return {name: np.concatenate([s[name] for s in shards]) for name in values}

    def to_checkpoint(self, states: Tree) -> Tree:
        """Leaves (S, ...) as Orbax writes them, copied; keys as their data.

        Over several processes global arrays, of which each process has its own seeds:
        they take the memory of these states once more, until written.
        """
        local = self.states_to_host(states)
        if multihost.num_processes() == 1:
            return local
        sharding = self._sharding(PartitionSpec(SEED))
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), local
        )
