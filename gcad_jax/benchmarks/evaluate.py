"""python -m gcad_jax.benchmarks.evaluate: the time of a full-size category.

310 test images of 1000 x 1700 pixels, as large as the largest category of MVTec LOCO
AD, with smooth random maps that are brighter on the anomalies. Times are of this
machine; compare the rows with each other and with `numpy.sort` of as many scores.

  --side=N     size of the maps before they are upsampled; 64, with --device 256
  --scale=X    share of the images, 1
  --size=H,W   of the images, 1000,1700
  --device     the pass as one program on JAX's devices, instead of NumPy on the host;
               its first row has the compilation
"""

import argparse
import resource
import time
from collections.abc import Sequence

import jax
import numpy as np

from gcad_jax.benchmarks.arguments import make_parser, number, size
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL, Region, TestImage
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.map_source import MapSource, UpsampledMaps
from gcad_jax.evaluation.ranks.device_histogram import DeviceMaps
from gcad_jax.evaluation.ranks.rank import BINNED, EXACT, Precision, rank

SIZE = (1000, 1700)
COUNTS = {GOOD: 138, STRUCTURAL: 91, LOGICAL: 81}


def make_category(
    scale: float, side: int, size: tuple[int, int]
) -> tuple[GroundTruth, np.ndarray]:
    """Ground truth, and maps (N, side, side) float32.

    scale: of the numbers of images. size: of an image, (H, W) pixels.
    """
    random = np.random.default_rng(0)
    images = []
    for kind, count in COUNTS.items():
        for i in range(max(1, round(count * scale))):
            regions: tuple[Region, ...] = ()
            if kind != GOOD:
                num_regions = random.integers(1, 3)
                regions = tuple(_box(random, kind, size) for _ in range(num_regions))
            name = f"{kind}/{i:03d}"
            images.append(TestImage(name, kind, *size, regions))
    maps = random.normal(size=(len(images), side, side)).astype(np.float32)
    for image, scores in zip(images, maps, strict=True):
        for region in image.regions:
            y, x = np.unravel_index(region.pixels[[0, -1]], size)
            rows = slice(y[0] * side // size[0], y[1] * side // size[0] + 1)
            columns = slice(x[0] * side // size[1], x[1] * side // size[1] + 1)
            scores[rows, columns] += 1.5  # standard deviations of the normal pixels
    return GroundTruth.build(images), maps


def _box(random: np.random.Generator, kind: str, size: tuple[int, int]) -> Region:
    """A rectangle of 60 to 260 pixels a side in images of SIZE."""
    height, width = (
        max(1, pixels * side // whole)
        for pixels, side, whole in zip(
            random.integers(60, 260, 2), size, SIZE, strict=True
        )
    )
    mask = np.zeros(size, bool)
    top = random.integers(0, size[0] - height)
    left = random.integers(0, size[1] - width)
    mask[top : top + height, left : left + width] = True
    name = f"{kind} {random.integers(3)}"
    saturation_area = float(max(1, height * width // 3))
    pixels = np.flatnonzero(mask).astype(np.int32)
    return Region(name, 255, saturation_area, False, pixels)


def print_row(name: str, seconds: float, note: str = "") -> None:
    """The peak is that of the process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:<42}{seconds:8.2f} s  peak {peak:5.2f} GiB  {note}", flush=True)


def time_rank(
    name: str,
    ground_truth: GroundTruth,
    source: MapSource | DeviceMaps,
    mode: str = BINNED,
) -> None:
    """A row from maps to all AU-sPRO of one mode, with the largest bound."""
    start = time.perf_counter()
    ranking = rank(ground_truth, source, Precision(mode))
    seconds = time.perf_counter() - start
    areas = (*ranking.kind_areas.values(), *ranking.defect_areas.values())
    print_row(name, seconds, f"bound {max(area.bound for area in areas):.1e}")


def time_host(ground_truth: GroundTruth, maps: np.ndarray) -> None:
    """Binned from network-size maps and from memory, exact, and NumPy's sort."""
    fused = UpsampledMaps(maps, ground_truth.images)
    for _ in range(3):
        name = f"binned, upsampled from {maps.shape[1]} x {maps.shape[1]}"
        time_rank(name, ground_truth, fused)
    in_memory = [fused(i) for i in range(len(maps))]
    for mode in (BINNED, BINNED, BINNED, EXACT):
        name = f"{mode}, maps in memory"
        time_rank(name, ground_truth, in_memory.__getitem__, mode)
    start = time.perf_counter()
    for scores in in_memory:
        np.sort(scores, axis=None)
    print_row("numpy.sort of each map, one thread", time.perf_counter() - start)


def time_devices(ground_truth: GroundTruth, maps: np.ndarray) -> None:
    """Binned on all devices of this process; the first row compiles."""
    devices = jax.local_devices()
    source = DeviceMaps(maps, ground_truth.images, devices)
    for _ in range(4):
        name = f"binned, {len(devices)} x {devices[0].device_kind}"
        time_rank(name, ground_truth, source)


def parser() -> argparse.ArgumentParser:
    """The flags; tests parse the commands of pages by them."""
    flags = make_parser(__doc__)
    flags.add_argument("--scale", type=float, default=1.0)
    flags.add_argument("--side", type=number)
    flags.add_argument("--size", type=size, default=SIZE)
    flags.add_argument("--device", action="store_true")
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for each way of scoring the same maps, some times over."""
    given = parser().parse_args(arguments)
    side = given.side or (256 if given.device else 64)
    ground_truth, maps = make_category(given.scale, side, given.size)
    pixels = len(maps) * given.size[0] * given.size[1]
    print(
        f"{len(maps)} maps, {pixels:,} pixels, {ground_truth.areas.sum():,} of regions"
    )
    (time_devices if given.device else time_host)(ground_truth, maps)


if __name__ == "__main__":
    main()
