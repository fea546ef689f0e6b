"""The pass over the pixels on accelerators: maps of network size in, counts out.

Up-sampling, cells and counts are one program, scanned over the images, so that no
full-size map leaves the device and only one is on it at a time. Counting sorts the
cells and looks their ends up: no scatter, which TPUs do slowly. Images are shared out
among the devices, and the counts of all of them added.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import GOOD, TestImage
from gcad_jax.evaluation.ground_truth import GroundTruth, Subset
from gcad_jax.evaluation.map_files import MapSource, taps, upsampled
from gcad_jax.evaluation.ranks.bins import BLOCKS, LENGTH, Cells, for_sample
from gcad_jax.evaluation.ranks.histogram import SAMPLE_PIXELS, Counted
from gcad_jax.evaluation.ranks.sorting import divide

BATCH = 64  # images of one call


@dataclasses.dataclass(frozen=True)
class DeviceMaps:
    """Maps (N, s, s) float32 of network size, to be scored on `devices`."""

    maps: np.ndarray
    images: Sequence[TestImage]
    devices: Sequence[jax.Device]

    def host(self) -> MapSource:
        """The same maps at full size, one at a time, on the host."""
        return upsampled(self.maps, self.images)

    def sample(
        self, truth: GroundTruth, subsets: Sequence[Subset], tolerance: float
    ) -> np.ndarray:  # (BLOCKS,)
        """How many cells each block needs, by the maps before up-sampling."""
        needed = np.ones(BLOCKS)
        for subset in subsets:
            scores = self.maps[[*truth.of_kind(GOOD), *subset.images]].reshape(-1)
            stride = max(1, scores.size // SAMPLE_PIXELS)
            needed = np.maximum(needed, for_sample(scores[::stride], tolerance))
        return needed

    def count(
        self, truth: GroundTruth, subsets: Sequence[Subset], cells: Cells
    ) -> Counted:
        """What `histogram.count_cells` does with full-size maps on the host.

        Raises:
          UserError: a map with NaN or Inf.
        """
        tables = [jax.device_put((cells.parts, cells.first), d) for d in self.devices]
        pending = []
        for number, (images, belongs) in enumerate(self._batches(truth, subsets)):
            place = number % len(self.devices)
            unions = _padded([truth.unions[i] for i in images])
            maps = self.maps[list(images)].astype(np.float32)
            spare = BATCH - len(images)
            inputs = (
                np.pad(maps, ((0, spare), (0, 0), (0, 0))),
                np.arange(BATCH) < len(images),
                np.pad(unions, ((0, spare), (0, 0))),
            )
            size = (truth.images[images[0]].height, truth.images[images[0]].width)
            on_device = jax.device_put(inputs, self.devices[place])
            found = _count(*on_device, *tables[place], size=size, total=cells.count)
            pending.append((images, belongs, found))
        return self._gathered(truth, len(subsets), cells, pending)

    @staticmethod
    def _batches(
        truth: GroundTruth, subsets: Sequence[Subset]
    ) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Images of one group and one size, at most BATCH."""
        groups: dict[tuple, list[int]] = {}
        for chunk in divide(truth, subsets):
            for i in chunk.images:
                size = (truth.images[i].height, truth.images[i].width)
                groups.setdefault((chunk.subsets, size), []).append(i)
        for (belongs, _), images in groups.items():
            for start in range(0, len(images), BATCH):
                yield tuple(images[start : start + BATCH]), belongs

    def _gathered(  # type: ignore[no-untyped-def]
        self, truth: GroundTruth, num_subsets: int, cells: Cells, pending
    ) -> Counted:
        image_scores = np.zeros(len(truth.images))
        counts = np.zeros((num_subsets, cells.count), np.int64)
        slots: list[np.ndarray] = [np.empty(0, np.int32)] * len(truth.regions)
        for images, belongs, found in pending:
            histogram, highest, finite, places = jax.device_get(found)
            total = histogram.astype(np.int64)
            for row, i in enumerate(images):
                if not finite[row]:
                    raise UserError(
                        f"The anomaly map of test image {truth.images[i].name} holds "
                        "NaN or infinite scores; every score must be finite."
                    )
                image_scores[i] = highest[row]
                own = places[row, : truth.unions[i].size]
                np.subtract.at(total, own, 1)
                for r in truth.regions_of(i):
                    at = np.searchsorted(truth.unions[i], truth.regions[r].pixels)
                    slots[r] = np.sort(own[at])[::-1]
            for k in belongs:
                counts[k] += total
        return Counted(image_scores, counts, tuple(slots), ~cells.single())


def _padded(unions: Sequence[np.ndarray]) -> np.ndarray:  # (B, U) int32
    """Rows of one length, a power of two: few lengths, so few programs."""
    longest = max(union.size for union in unions)
    width = 1 << (longest - 1).bit_length() if longest else 1
    rows = np.zeros((len(unions), width), np.int32)
    for row, union in zip(rows, unions, strict=True):
        row[: union.size] = union
    return rows


@functools.partial(jax.jit, static_argnames=("size", "total"))
def _count(maps, valid, unions, parts, first, *, size, total):  # type: ignore[no-untyped-def]
    """Counts (T,) int32 over the valid maps; for each map its maximum, whether it is
    finite, and the cells of its union.
    """

    def one(counts, inputs):  # type: ignore[no-untyped-def]
        scores, counted, union = inputs
        full = _upsample(scores, size)
        places = _place(full.reshape(-1), parts, first)
        ends = jnp.searchsorted(
            jnp.sort(places), jnp.arange(total, dtype=jnp.int32), side="right"
        )
        own = jnp.diff(ends, prepend=jnp.zeros(1, ends.dtype)).astype(jnp.int32)
        finite = jnp.all(jnp.isfinite(scores))
        return counts + own * counted, (full.max(), finite, places[union])

    # At most BATCH maps, so int32 holds 2**25 pixels of each.
    counts, rest = jax.lax.scan(
        one, jnp.zeros(total, jnp.int32), (maps, valid.astype(jnp.int32), unions)
    )
    return counts, *rest


def _upsample(scores, size):  # type: ignore[no-untyped-def]
    """As `maps.upsample`: first the width, then the height."""
    for axis in (1, 0):
        low, high, weight = taps(scores.shape[axis], size[axis])
        below = jnp.take(scores, low, axis=axis)
        step = jnp.take(scores, high, axis=axis) - below
        share = jnp.asarray(weight, scores.dtype)
        scores = below + step * jnp.expand_dims(share, 1 - axis)
    return scores


def _place(scores, parts, first):  # type: ignore[no-untyped-def]
    """As `Cells.place`, int32."""
    bits = jax.lax.bitcast_convert_type(scores, jnp.int32)
    bits = jnp.where(scores == 0, 0, bits)  # of -0.0 too
    key = jax.lax.bitcast_convert_type(
        bits ^ ((bits >> 31) | jnp.int32(-(2**31))), jnp.uint32
    )
    block = (key >> 16).astype(jnp.int32)
    within = (key & jnp.uint32(LENGTH - 1)) * parts[block]
    return ((within >> 16) + first[block]).astype(jnp.int32)
