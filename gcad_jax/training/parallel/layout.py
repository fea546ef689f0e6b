"""Devices: how states and examples lie on them, and the one place that maps a step."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gcad_jax.core import errors, multihost
from gcad_jax.core.axes import BATCH, SEED
from gcad_jax.core.types import Array, Tree

LAYOUTS = (BATCH, SEED)
ALL = PartitionSpec()  # the same on every device


@dataclasses.dataclass(frozen=True)
class Layout:
    """What each device has of a training of S seeds.

    devices: of all processes, in the order in which they have their parts; those of a
        process stand together.
    kind: BATCH: every seed is on every device, each batch is split over them, and
        gradients are averaged across. SEED: the seeds are split over the devices, each
        has whole batches, and nothing crosses: for many seeds at a small batch.

    A program takes states (S, ...) and gives metrics (K, S); on devices of SEED both
    have the axis of the devices first: (devices, S / devices, ...).
    """

    devices: tuple[jax.Device, ...]
    kind: str = BATCH

    @property
    def _split(self) -> PartitionSpec:
        return PartitionSpec(self.kind)

    @property
    def _states(self) -> PartitionSpec:
        return self._split if self.kind == SEED else ALL

    @property
    def _local(self) -> list[jax.Device]:
        own = jax.process_index()
        return [device for device in self.devices if device.process_index == own]

    def _sharding(self, spec: PartitionSpec) -> NamedSharding:
        return NamedSharding(Mesh(np.asarray(self.devices), (self.kind,)), spec)

    def fits(self, batch_size: int, num_seeds: int) -> bool:
        """Whether what is split divides evenly."""
        split = batch_size if self.kind == BATCH else num_seeds
        return split % len(self.devices) == 0

    def check(self, field: str, batch_size: int, num_seeds: int) -> None:
        """Raises UserError unless it `fits`. field: what the batch size is called."""
        if self.fits(batch_size, num_seeds):
            return
        count = len(self.devices)
        if self.kind == BATCH:
            fewer = "fewer devices with num_devices=N"
            if count == multihost.num_processes() > 1:
                fewer = "fewer hosts"
            raise errors.UserError(
                f"{field} is {batch_size}, which {count} devices cannot share "
                f"evenly; choose a multiple of {count}, or {fewer}.",
                "num_devices",
            )
        raise errors.UserError(
            f"{num_seeds} seeds cannot be split evenly over {count} devices; give "
            f"a multiple of {count} of them, fewer devices with num_devices=N, or "
            "layout=batch.",
            "num_devices",
            "layout",
        )

    def own_seeds(self, num_seeds: int) -> range:
        """Places among the seeds of those whose states this process has."""
        if self.kind == BATCH:
            return range(num_seeds)
        each = num_seeds // len(self.devices)
        first = self.devices.index(self._local[0])
        return range(first * each, (first + len(self._local)) * each)

    # -- programs ---------------------------------------------------------------

    def map(self, step: Callable[..., Any]):  # type: ignore[no-untyped-def]
        """Maps `step(states, resources, examples)` over the devices.

        Resources are the same everywhere, examples as `split` gives them. States and
        metrics must cross axis BATCH inside the step. The states are donated.
        """
        if self.kind == SEED:
            step = _alone(step)
        if multihost.num_processes() == 1:
            axis = 0 if self.kind == SEED else None
            return jax.pmap(
                step,
                axis_name=self.kind,
                in_axes=(axis, None, 0),
                out_axes=axis,
                donate_argnums=(0,),
                devices=self.devices,
            )
        # What pmap is made of. Over several processes pmap cannot be compiled ahead.
        whole = self.kind == BATCH

        def block(states: Tree, resources: Tree, examples: Array) -> Tree:
            own = states if whole else jax.tree.map(lambda x: x[0], states)
            results = step(own, resources, examples[0])
            return results if whole else jax.tree.map(lambda x: x[None], results)

        mapped = jax.shard_map(
            block,
            mesh=Mesh(np.asarray(self.devices), (self.kind,)),
            in_specs=(self._states, ALL, self._split),
            out_specs=self._states,
            check_vma=False,  # with True, a mean of gradients would be their sum
        )
        return jax.jit(mapped, donate_argnums=(0,))

    # -- from the host ----------------------------------------------------------

    def split(self, examples: np.ndarray) -> np.ndarray:
        """(K, S, B, ...) of whole batches -> the parts of the devices.

        (devices, K, S, B / devices, ...), by position in the batch; for SEED
        (devices, K, S / devices, B, ...).
        """
        axis = 2 if self.kind == BATCH else 1
        shape, count = examples.shape, len(self.devices)
        inner = (count, shape[axis] // count)
        parts = examples.reshape(*shape[:axis], *inner, *shape[axis + 1 :])
        return np.ascontiguousarray(np.moveaxis(parts, axis, 0))

    def fed(self, parts: np.ndarray) -> Array | np.ndarray:
        """What `split` gave as a program takes it."""
        if multihost.num_processes() == 1:
            return parts
        return _placed(parts, self._sharding(self._split))

    def everywhere(self, tree: Tree) -> Tree:
        """A fresh copy of the tree on every device (a step may donate it)."""
        return jax.tree.map(lambda x: _placed(x, self._sharding(ALL)), tree)

    def states(self, states: Tree) -> Tree:
        """States of the seeds as a program takes them, freshly made.

        states: leaves of `own_seeds` on the host, or what `stored` and a checkpoint
            made of them.
        """
        if self.kind == BATCH:
            return self.everywhere(states)
        return jax.tree.map(self._spread, states)

    def _spread(self, leaf: Array) -> Array:
        """(own seeds, ...) on the host -> (devices, seeds of one, ...)."""
        if _is_key(leaf):
            return jax.random.wrap_key_data(self._spread(jax.random.key_data(leaf)))
        parts = np.array(_host(leaf)).reshape(len(self._local), -1, *leaf.shape[1:])
        shape = (len(self.devices), *parts.shape[1:])
        return jax.make_array_from_single_device_arrays(
            shape,
            self._sharding(self._split),
            [
                jax.device_put(part[None], device)
                for part, device in zip(parts, self._local, strict=True)
            ],
        )

    # -- to the host ------------------------------------------------------------

    def own(self, states: Tree) -> Tree:
        """Leaves (own seeds, ...) as NumPy arrays, copied; keys as their data."""

        def copied(leaf: Array) -> np.ndarray:
            data = np.array(_host(_data(leaf)))
            return data.reshape(-1, *data.shape[2:]) if self.kind == SEED else data

        return jax.tree.map(copied, states)

    def columns(self, metrics: Tree) -> Tree:
        """Metrics as a program gives them -> NumPy arrays (K, own seeds, ...)."""

        def column(leaf: Array) -> np.ndarray:
            data = _host(leaf)
            if self.kind == BATCH:
                return data
            joined = np.moveaxis(data, 0, 1)  # (K, devices, seeds of one, ...)
            return joined.reshape(joined.shape[0], -1, *joined.shape[3:])

        return jax.tree.map(column, metrics)

    # -- checkpoints ------------------------------------------------------------

    def stored(self, states: Tree) -> Tree:
        """Leaves (S, ...) as Orbax writes them, copied; keys as their data.

        Arrays of NumPy; for SEED over several processes global ones, of which each has
        its own seeds: they take the memory of these states once more, until written.
        """
        own = self.own(states)
        if multihost.num_processes() == 1 or self.kind == BATCH:
            return own
        sharding = self._sharding(self._states)
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), own
        )

    def restored(self, states: Tree) -> Tree:
        """What `restorable` was read into -> leaves (own seeds, ...) of NumPy."""
        return jax.tree.map(lambda leaf: np.array(_host(leaf)), states)

    def restorable(self, like: Tree) -> Tree:
        """What a checkpoint is to be read into. like: leaves (own seeds, ...)."""
        own = jax.tree.map(lambda leaf: np.asarray(_data(leaf)), like)
        if multihost.num_processes() == 1:
            return own
        times = len(self.devices) // len(self._local) if self.kind == SEED else 1
        sharding = self._sharding(self._states)

        def of_all(leaf: np.ndarray) -> jax.ShapeDtypeStruct:
            shape = (times * leaf.shape[0], *leaf.shape[1:])
            return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)

        return jax.tree.map(of_all, own)


def choose_layout(
    kind: str,
    batch_size: int,
    num_seeds: int,
    count: int,
    devices: Sequence[jax.Device],
) -> Layout:
    """The layout that is asked for, or the one that uses most devices.

    kind: of LAYOUTS; "" for the better one: SEED where it uses as many, for nothing
        crosses there. count: of devices, 0 for as many as fit. devices: all there are;
        every process gives equally many.

    Raises:
      UserError: there is no such layout.
    """
    processes = sorted({device.process_index for device in devices})
    of_each = [[d for d in devices if d.process_index == p] for p in processes]
    possible = range(1, min(len(own) for own in of_each) + 1)
    counts = [n * len(processes) for n in possible]
    if count and count not in counts:
        of = f" of {len(processes)} processes, which share equally"
        raise errors.UserError(
            f"config.num_devices is {count}; there are {len(devices)} "
            f"{devices[0].platform} devices{of if len(processes) > 1 else ''}."
        )
    layouts = [
        Layout(
            tuple(d for own in of_each for d in own[: number // len(processes)]), one
        )
        for number in ([count] if count else counts)
        for one in ((kind,) if kind else LAYOUTS)
    ]
    fitting = [one for one in layouts if one.fits(batch_size, num_seeds)]
    if not fitting:
        layouts[0].check("config.batch_size", batch_size, num_seeds)

    def worth(layout: Layout) -> tuple[int, bool]:
        number = len(layout.devices)
        return number, number > 1 and layout.kind == SEED

    return max(fitting, key=worth)


def _alone(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step where the device is all there is of axis BATCH."""
    mapped = jax.vmap(
        step, in_axes=(None, None, 0), out_axes=None, axis_name=BATCH, axis_size=1
    )
    return lambda states, resources, examples: mapped(states, resources, examples[None])


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _host(leaf: Any) -> np.ndarray:
    """What this process has of an array: all of it, or its parts of the first axis."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return np.asarray(leaf)
    if leaf.is_fully_replicated:
        return np.asarray(leaf.addressable_data(0))
    shards = sorted(leaf.addressable_shards, key=lambda s: s.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def _placed(leaf: Any, sharding: NamedSharding) -> Array:
    """A fresh array; `leaf` is the same on every process."""
    if _is_key(leaf):
        return jax.random.wrap_key_data(_placed(jax.random.key_data(leaf), sharding))
    # Through the host, a copy each: device_put may alias its source, and donation
    # then deletes it.
    data = _host(leaf)
    return jax.make_array_from_callback(
        data.shape, sharding, lambda index: np.array(data[index])
    )
