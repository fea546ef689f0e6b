"""Where the examples of an update come from: the device's memory, or a stream."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Protocol

import jax
import numpy as np

from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.types import Tree
from gcad_jax.data.dataset import Category
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.data.input.device import to_device
from gcad_jax.data.input.patches import PatchStream
from gcad_jax.data.input.sampling import batches, seamless_batches, steps_per_epoch
from gcad_jax.methods.base import Method
from gcad_jax.methods.common.apply import in_batches
from gcad_jax.training.parallel.layout import Layout
from gcad_jax.training.step import Resources

IDENTITY = Augmentation()


class InputPipeline(Protocol):
    """What the loop knows of its data.

    name: for the progress bar. augmentation: done inside the step.
    """

    name: str
    steps_per_epoch: int
    augmentation: Augmentation

    def resources(self, frozen: Tree, layout: Layout) -> Resources:
        """What every step reads, on all devices."""
        ...

    def take(self, step: int, calls: int, layout: Layout) -> np.ndarray:
        """Examples of updates step .. step + calls - 1, as `Layout.split` gives them.

        Rows of the data set on the device, int32, or where there is none the images
        themselves, uint8.
        """
        ...


class InMemory:
    """A category that lies on the device: an update is fed row numbers."""

    def __init__(
        self,
        method: Method,
        category: Category,
        seeds: Sequence[int],
        cache_features: bool = False,
        computed: int | None = None,
    ) -> None:
        """cache_features: keep what the frozen part says of each training image.

        computed: number of images whose features are computed; others repeat them,
            where time and memory alone are asked for. None: of all.

        Raises:
          UserError: features of augmented images, a batch larger than the data set.
        """
        self.name = category.name
        self.augmentation = category.augmentation if method.augmented else IDENTITY
        count, batch = len(category.train), method.batch_size
        self._batches = (
            batches if method.samples_per_epoch is None else seamless_batches
        )
        self.steps_per_epoch = steps_per_epoch(method.samples_per_epoch or count, batch)
        self._method, self._category, self._seeds = method, category, seeds
        self._cache_features, self._computed = cache_features, computed
        if cache_features and not self.augmentation.is_identity:
            raise UserError(
                f"cache_features is True, but the training images of {category.name} "
                "are augmented; set cache_features=False, or method.augmented=False.",
                "cache_features",
                "method.augmented",
            )

    def resources(self, frozen: Tree, layout: Layout) -> Resources:
        """Frozen part, images and, where wanted, cached features."""
        cached = None
        if self._cache_features:
            compute = functools.partial(jit_here(self._method.cache), frozen)
            size = self._method.inference_batch_size
            images = self._category.train
            cached = in_batches(compute, images[: self._computed], size)
            if self._computed is not None:
                rows = np.arange(len(images)) % self._computed
                cached = jax.tree.map(lambda x: x[rows], cached)
        tree = Resources(frozen, to_device(self._category.train), cached)
        return layout.replicate(tree)

    def take(self, step: int, calls: int, layout: Layout) -> np.ndarray:
        """Rows of the data set, int32."""
        count, batch = len(self._category.train), self._method.batch_size
        streams = [self._batches(seed, step, batch, count) for seed in self._seeds]
        rows = [[next(stream) for stream in streams] for _ in range(calls)]
        return layout.split(np.asarray(rows, np.int32))


@dataclasses.dataclass
class Streaming:
    """Patches that are cut on the host while the device computes."""

    name: str
    stream: PatchStream
    seeds: Sequence[int]

    def __post_init__(self) -> None:
        self.augmentation = IDENTITY
        self.steps_per_epoch = max(1, len(self.stream.rows) // self.stream.batch_size)
        self._next_step, self._streams = -1, list[Iterator[np.ndarray]]()

    def resources(self, frozen: Tree, layout: Layout) -> Resources:
        """The frozen part; there is no data set on the device."""
        return layout.replicate(Resources(frozen, None, None))

    def take(self, step: int, calls: int, layout: Layout) -> np.ndarray:
        """Patches (..., side, side, 3), uint8, those of other processes too."""
        if step != self._next_step:  # the first call, or not the one after the last
            self._streams = [self.stream.batches(seed, step) for seed in self.seeds]
        self._next_step = step + calls
        images = [[next(stream) for stream in self._streams] for _ in range(calls)]
        return layout.split(np.asarray(images))
