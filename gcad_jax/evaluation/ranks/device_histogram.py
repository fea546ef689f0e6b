"""The pass over the pixels on accelerators: maps of network size in, counts out.

Upsampling, cells and counts are one program, a loop over the images, so that no
full-size map leaves the device and only one is on it at a time. Counting sorts the
cells and looks their ends up: no scatter, which TPUs do slowly. Images are shared out
among the devices, and the counts of all of them added.

A program is compiled for a size of images; its other shapes are those of the category,
rounded up, so that branches, seeds and devices share it.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import GOOD, TestImage
from gcad_jax.data.resize import upsample_jnp
from gcad_jax.evaluation.ground_truth import GroundTruth, Subset
from gcad_jax.evaluation.map_source import MapSource, UpsampledMaps
from gcad_jax.evaluation.ranks.bins import BLOCKS, LENGTH, Cells, cells_for_sample
from gcad_jax.evaluation.ranks.histogram import SAMPLE_PIXELS, CellCounts
from gcad_jax.evaluation.ranks.sorting import Chunk, group_into_chunks

BATCH = 64  # images that a device gets in one call
DEVICE = "device"  # the axis of a call's batches
EACH, SAME = PartitionSpec(DEVICE), PartitionSpec()


@dataclasses.dataclass(frozen=True)
class DeviceMaps:
    """Maps (N, h, w) float32 of network size, to be scored on `devices`."""

    maps: np.ndarray
    images: Sequence[TestImage]
    devices: Sequence[jax.Device]

    def host(self) -> MapSource:
        """The same maps at full size, one at a time, on the host."""
        return UpsampledMaps(self.maps, self.images)

    def sample(
        self, truth: GroundTruth, subsets: Sequence[Subset], tolerance: float
    ) -> np.ndarray:  # (BLOCKS,)
        """How many cells each block needs, by the maps before upsampling."""
        needed = np.ones(BLOCKS)
        for subset in subsets:
            images = [*truth.images_of_kind(GOOD), *subset.images]
            scores = self.maps[images].reshape(-1)
            stride = max(1, scores.size // SAMPLE_PIXELS)
            needed = np.maximum(needed, cells_for_sample(scores[::stride], tolerance))
        return needed

    def count(
        self, truth: GroundTruth, subsets: Sequence[Subset], cells: Cells
    ) -> CellCounts:
        """What `histogram.count_cells` does with full-size maps on the host.

        Raises:
          UserError: a map with NaN or Inf.
        """
        mesh = Mesh(np.asarray(self.devices), (DEVICE,))
        tables = jax.device_put((cells.parts, cells.first), NamedSharding(mesh, SAME))
        programs = _batches_by_program(truth, subsets)
        rows = max((len(b.images) for p in programs.values() for b in p), default=0)
        total = _power_of_two(cells.count)
        pending = []
        for (size, width), batches in programs.items():
            for start in range(0, len(batches), len(self.devices)):
                call = batches[start : start + len(self.devices)]
                inputs = self._inputs(truth, call, rows, width)
                on_devices = jax.device_put(inputs, NamedSharding(mesh, EACH))
                counted = _count(
                    *on_devices, *tables, mesh=mesh, size=size, total=total
                )
                # Not fetched yet, so that the devices compute while inputs are filled.
                pending.append((call, counted))
        return self._gather(truth, len(subsets), cells, pending)

    def _inputs(
        self, truth: GroundTruth, call: Sequence[Chunk], rows: int, width: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Maps (D, rows, h, w), pixels of regions (D, rows, width), filled up with 0.

        Between them how many of the rows are images: (D,) int32.
        """
        D = len(self.devices)
        maps = np.zeros((D, rows, *self.maps.shape[1:]), np.float32)
        unions = np.zeros((D, rows, width), np.int32)
        used = np.zeros(D, np.int32)
        for place, batch in enumerate(call):
            used[place] = len(batch.images)
            for row, i in enumerate(batch.images):
                maps[place, row] = self.maps[i]
                unions[place, row, : truth.unions[i].size] = truth.unions[i]
        return maps, used, unions

    def _gather(  # type: ignore[no-untyped-def]
        self, truth: GroundTruth, num_subsets: int, cells: Cells, pending
    ) -> CellCounts:
        image_scores = np.zeros(len(truth.images))
        counts = np.zeros((num_subsets, cells.count), np.int64)
        pixel_bins: list[np.ndarray] = [np.empty(0, np.int32)] * len(truth.regions)
        for call, counted in pending:
            for batch, *of_device in zip(call, *jax.device_get(counted), strict=False):
                histogram, highest, finite, places = of_device
                total = histogram[: cells.count].astype(np.int64)
                for row, i in enumerate(batch.images):
                    if not finite[row]:
                        raise UserError(
                            f"The anomaly map of test image {truth.images[i].name} "
                            "holds NaN or infinite scores; every score must be finite."
                        )
                    image_scores[i] = highest[row]
                    of_union = places[row, : truth.unions[i].size]
                    # The device counted all pixels; those of regions are no negatives.
                    np.subtract.at(total, of_union, 1)
                    for r in truth.regions_of(i):
                        at = np.searchsorted(truth.unions[i], truth.regions[r].pixels)
                        pixel_bins[r] = np.sort(of_union[at])[::-1]
                for k in batch.subsets:
                    counts[k] += total
        return CellCounts(image_scores, counts, tuple(pixel_bins), ~cells.single())


def _batches_by_program(
    truth: GroundTruth, subsets: Sequence[Subset]
) -> dict[tuple[tuple[int, int], int], list[Chunk]]:
    """All images, at most BATCH of one group and one size together.

    By their size (H, W), and by the room for the pixels of regions of an image.
    """
    groups: dict[tuple, list[int]] = {}
    for chunk in group_into_chunks(truth, subsets):
        for i in chunk.images:
            size = (truth.images[i].height, truth.images[i].width)
            groups.setdefault((chunk.subsets, size), []).append(i)
    widest = _power_of_two(max((union.size for union in truth.unions), default=0))
    programs: dict[tuple[tuple[int, int], int], list[Chunk]] = {}
    for (counts_for, size), images in groups.items():
        for start in range(0, len(images), BATCH):
            part = tuple(images[start : start + BATCH])
            # Two widths, so two programs a size.
            width = widest if any(truth.unions[i].size for i in part) else 1
            programs.setdefault((size, width), []).append(Chunk(part, counts_for))
    return programs


def _power_of_two(number: int) -> int:
    """The next one that is not smaller: few shapes, so few programs."""
    return 1 << max(0, number - 1).bit_length()


@functools.partial(jax.jit, static_argnames=("mesh", "size", "total"))
def _count(maps, used, unions, parts, first, *, mesh, size, total):  # type: ignore[no-untyped-def]
    """`_count_batch` of each device for its part of the inputs."""
    return jax.shard_map(
        functools.partial(_count_batch, size=size, total=total),
        mesh=mesh,
        in_specs=(EACH, EACH, EACH, SAME, SAME),
        out_specs=EACH,
        check_vma=False,  # nothing crosses the devices
    )(maps, used, unions, parts, first)


def _count_batch(maps, used, unions, parts, first, size, total):  # type: ignore[no-untyped-def]
    """Counts (total,) int32 over the first `used` maps (B, h, w); for each map its
    maximum, whether it is finite, and the cells of its union: (B,), (B,), (B, U).

    Maps, `used`, unions and all results have an axis of length 1 before these.
    """
    maps, used, unions = maps[0], used[0], unions[0]

    def add_image(i, state):  # type: ignore[no-untyped-def]
        counts, *per_image = state
        full = upsample_jnp(maps[i], *size)
        places = _place_scores(full.reshape(-1), parts, first)
        ends = jnp.searchsorted(
            jnp.sort(places), jnp.arange(total, dtype=jnp.int32), side="right"
        )
        in_cells = jnp.diff(ends, prepend=jnp.zeros(1, ends.dtype)).astype(jnp.int32)
        finite = jnp.all(jnp.isfinite(maps[i]))
        image_values = (full.max(), finite, places[unions[i]])
        update = jax.lax.dynamic_update_index_in_dim
        return counts + in_cells, *(
            update(rows, row, i, 0)
            for rows, row in zip(per_image, image_values, strict=True)
        )

    # At most BATCH maps, so int32 holds 2**25 pixels of each.
    start = (
        jnp.zeros(total, jnp.int32),
        jnp.zeros(len(maps), maps.dtype),
        jnp.zeros(len(maps), bool),
        jnp.zeros(unions.shape, jnp.int32),
    )
    # What the batch is filled up with costs nothing: the loop ends before it.
    counted = jax.lax.fori_loop(0, used, add_image, start)
    return jax.tree.map(lambda x: x[None], counted)


def _place_scores(scores, parts, first):  # type: ignore[no-untyped-def]
    """As `Cells.place`, int32."""
    bits = jax.lax.bitcast_convert_type(scores, jnp.int32)
    bits = jnp.where(scores == 0, 0, bits)  # of -0.0 too
    key = jax.lax.bitcast_convert_type(
        bits ^ ((bits >> 31) | jnp.int32(-(2**31))), jnp.uint32
    )
    block = (key >> 16).astype(jnp.int32)
    within = (key & jnp.uint32(LENGTH - 1)) * parts[block]
    return ((within >> 16) + first[block]).astype(jnp.int32)
