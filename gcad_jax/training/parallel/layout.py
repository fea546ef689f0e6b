"""How states and examples lie on the devices, and the one place that maps a step."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gcad_jax.core import multihost
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array, Tree
from gcad_jax.training.parallel.arrays import key_data, put, to_numpy

REPLICATED = PartitionSpec()  # the same on every device


@dataclasses.dataclass(frozen=True)
class Layout(abc.ABC):
    """What each device has of a training of S seeds.

    A program takes states (S, ...) and gives metrics (K, S) of K updates; where the
    seeds are split, both have the axis of the devices first.

    devices: of all processes, in the order in which they have their parts; those of a
        process stand together.

    What is defined here holds where every device has all seeds.
    """

    devices: tuple[jax.Device, ...]

    kind: ClassVar[str]  # name of the axis that is split, BATCH or SEED
    split_axis: ClassVar[int]  # of examples (K, S, B, ...)
    state_axis: ClassVar[int | None]  # of states, on which the devices stand

    @property
    def local_devices(self) -> list[jax.Device]:
        """Those of this process."""
        here = jax.process_index()
        return [device for device in self.devices if device.process_index == here]

    @property
    def num_seed_shards(self) -> int:
        """Over how many devices the seeds are split; 1 where each has all of them."""
        return 1 if self.state_axis is None else len(self.devices)

    @abc.abstractmethod
    def misfit(self, field: str, batch_size: int, num_seeds: int) -> UserError | None:
        """The error to raise if what is split does not divide evenly.

        field: what the batch size is called.
        """

    def local_seeds(self, num_seeds: int) -> range:
        """Positions among the seeds of those whose states this process has."""
        return range(num_seeds)

    # -- programs ---------------------------------------------------------------

    def map(self, step: Callable[..., Any]):  # type: ignore[no-untyped-def]
        """Maps `step(states, resources, examples)` over the devices.

        Resources are the same everywhere, examples as `split` gives them. States and
        metrics must cross axis BATCH inside the step. The states are donated.
        """
        step = self._with_batch_axis(step)
        if multihost.num_processes() == 1:
            return jax.pmap(
                step,
                axis_name=self.kind,
                in_axes=(self.state_axis, None, 0),
                out_axes=self.state_axis,
                donate_argnums=(0,),
                devices=self.devices,
            )

        # What pmap is made of. Over several processes pmap cannot be compiled ahead.
        def block(states: Tree, resources: Tree, examples: Array) -> Tree:
            # A block keeps the split axis, of length one, which pmap takes away.
            if self.state_axis is None:
                return step(states, resources, examples[0])
            states = jax.tree.map(lambda x: x[0], states)
            results = step(states, resources, examples[0])
            return jax.tree.map(lambda x: x[None], results)

        mapped = jax.shard_map(
            block,
            mesh=self._mesh(),
            in_specs=(self._state_spec, REPLICATED, PartitionSpec(self.kind)),
            out_specs=self._state_spec,
            check_vma=False,  # with True, a mean of gradients would be their sum
        )
        return jax.jit(mapped, donate_argnums=(0,))

    def _with_batch_axis(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The step of one device, with axis BATCH to cross."""
        return step  # BATCH is the axis over which the step is mapped

    @property
    def _state_spec(self) -> PartitionSpec:
        return REPLICATED if self.state_axis is None else PartitionSpec(self.kind)

    def _mesh(self) -> Mesh:
        return Mesh(np.asarray(self.devices), (self.kind,))

    def _sharding(self, spec: PartitionSpec) -> NamedSharding:
        return NamedSharding(self._mesh(), spec)

    # -- from the host ----------------------------------------------------------

    def split(self, examples: np.ndarray) -> np.ndarray:
        """(K, S, B, ...) of whole batches -> the parts of the devices.

        (devices, K, S, B / devices, ...), by position in the batch; where the seeds
        are split (devices, K, S / devices, B, ...).
        """
        axis, shape, count = self.split_axis, examples.shape, len(self.devices)
        inner = (count, shape[axis] // count)
        parts = examples.reshape(*shape[:axis], *inner, *shape[axis + 1 :])
        return np.ascontiguousarray(np.moveaxis(parts, axis, 0))

    def examples_to_device(self, parts: np.ndarray) -> Array | np.ndarray:
        """What `split` gave as a program takes it."""
        if multihost.num_processes() == 1:
            return parts  # pmap itself copies each part to its device
        return put(parts, self._sharding(PartitionSpec(self.kind)))

    def replicate(self, tree: Tree) -> Tree:
        """A fresh copy of the tree on every device (a step may donate it)."""
        return jax.tree.map(lambda x: put(x, self._sharding(REPLICATED)), tree)

    def states_to_device(self, states: Tree) -> Tree:
        """States of the seeds as a program takes them, freshly made.

        states: leaves of `local_seeds` on the host, or what `to_checkpoint` and a
            checkpoint made of them.
        """
        return self.replicate(states)

    # -- to the host ------------------------------------------------------------

    def states_to_host(self, states: Tree) -> Tree:
        """Leaves (local seeds, ...) as NumPy arrays, copied; keys as their data."""
        return jax.tree.map(lambda leaf: np.array(to_numpy(key_data(leaf))), states)

    def metrics_to_host(self, metrics: Tree) -> Tree:
        """Metrics as a program gives them -> NumPy arrays (K, local seeds, ...)."""
        return jax.tree.map(to_numpy, metrics)

    def gather_seeds(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Values (local seeds, ...) of each process -> (S, ...), on every one."""
        return values

    # -- checkpoints ------------------------------------------------------------

    def to_checkpoint(self, states: Tree) -> Tree:
        """Leaves (S, ...) as Orbax writes them, copied; keys as their data."""
        return self.states_to_host(states)

    def checkpoint_like(self, like: Tree) -> Tree:
        """What a checkpoint is to be read into. like: leaves (local seeds, ...)."""
        local = jax.tree.map(lambda leaf: np.asarray(key_data(leaf)), like)
        if multihost.num_processes() == 1:
            return local
        sharding = self._sharding(self._state_spec)
        # Each process has equally many devices, and so of the seeds.
        times = max(1, self.num_seed_shards // len(self.local_devices))

        def global_shape(leaf: np.ndarray) -> jax.ShapeDtypeStruct:
            shape = (times * leaf.shape[0], *leaf.shape[1:])
            return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)

        return jax.tree.map(global_shape, local)
