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

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL, Region, TestImage
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.map_source import MapSource, UpsampledMaps
from gcad_jax.evaluation.ranks.device_histogram import DeviceMaps
from gcad_jax.evaluation.ranks.rank import BINNED, EXACT, Precision, rank

SIZE = (1000, 1700)
COUNTS = {GOOD: 138, STRUCTURAL: 91, LOGICAL: 81}


def category(
    scale: float = 1.0, side: int = 64, size: tuple[int, int] = SIZE
) -> tuple[GroundTruth, np.ndarray]:
    """Ground truth and maps (N, side, side) float32; scale: of the image counts."""
    random = np.random.default_rng(0)
    images = []
    for kind, count in COUNTS.items():
        for number in range(max(1, round(count * scale))):
            regions: tuple[Region, ...] = ()
            if kind != GOOD:
                boxes = random.integers(1, 3)
                regions = tuple(_box(random, kind, size) for _ in range(boxes))
            name = f"{kind}/{number:03d}"
            images.append(TestImage(name, kind, *size, regions))
    maps = random.normal(size=(len(images), side, side)).astype(np.float32)
    for image, scores in zip(images, maps, strict=True):
        for region in image.regions:
            y, x = np.unravel_index(region.pixels[[0, -1]], size)
            rows = slice(y[0] * side // size[0], y[1] * side // size[0] + 1)
            scores[rows, x[0] * side // size[1] : x[1] * side // size[1] + 1] += 1.5
    return GroundTruth.build(images), maps


def _box(random: np.random.Generator, kind: str, size: tuple[int, int]) -> Region:
    """A rectangle of 60 to 260 pixels a side in images of SIZE."""
    sides = random.integers(60, 260, 2)
    height, width = (
        max(1, n * a // b) for n, a, b in zip(sides, size, SIZE, strict=True)
    )
    mask = np.zeros(size, bool)
    top = random.integers(0, size[0] - height)
    left = random.integers(0, size[1] - width)
    mask[top : top + height, left : left + width] = True
    name = f"{kind} {random.integers(3)}"
    third = float(max(1, height * width // 3))
    return Region(name, 255, third, False, np.flatnonzero(mask).astype(np.int32))


def timed(
    truth: GroundTruth, source: MapSource | DeviceMaps, mode: str
) -> tuple[float, float]:
    """Seconds from maps to all AU-sPRO of one mode, and the largest bound."""
    start = time.perf_counter()
    ranking = rank(truth, source, Precision(mode))
    seconds = time.perf_counter() - start
    found = (*ranking.kind_areas.values(), *ranking.defect_areas.values())
    return seconds, max(areas.bound for areas in found)


def line(name: str, seconds: float, note: str = "") -> None:
    """Prints a row; the peak is that of the process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:<42}{seconds:8.2f} s  peak {peak:5.2f} GiB  {note}", flush=True)


def on_host(truth: GroundTruth, maps: np.ndarray) -> None:
    """Binned from network-size maps and from memory, exact, and NumPy's sort."""
    fused = UpsampledMaps(maps, truth.images)
    name = f"binned, upsampled from {maps.shape[1]} x {maps.shape[1]}"
    for _ in range(3):
        seconds, bound = timed(truth, fused, BINNED)
        line(name, seconds, f"bound {bound:.1e}")
    full = [fused(i) for i in range(len(maps))]
    for mode in (BINNED, BINNED, BINNED, EXACT):
        seconds, bound = timed(truth, full.__getitem__, mode)
        line(f"{mode}, maps in memory", seconds, f"bound {bound:.1e}")
    start = time.perf_counter()
    for scores in full:
        np.sort(scores, axis=None)
    line("numpy.sort of each map, one thread", time.perf_counter() - start)


def on_devices(truth: GroundTruth, maps: np.ndarray) -> None:
    """Binned on all devices of this process; the first row compiles."""
    devices = jax.local_devices()
    source = DeviceMaps(maps, truth.images, devices)
    where = f"{len(devices)} x {devices[0].device_kind}"
    for _ in range(4):
        seconds, bound = timed(truth, source, BINNED)
        line(f"binned, {where}", seconds, f"bound {bound:.1e}")


def parser() -> argparse.ArgumentParser:
    """Of the flags above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--side", type=int)
    parser.add_argument("--size", type=_size, default=SIZE)
    parser.add_argument("--device", action="store_true")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for each way of scoring the same maps, some times over."""
    given = parser().parse_args(arguments)
    side = given.side or (256 if given.device else 64)
    truth, maps = category(given.scale, side, given.size)
    pixels = len(maps) * given.size[0] * given.size[1]
    print(f"{len(maps)} maps, {pixels:,} pixels, {truth.areas.sum():,} of regions")
    (on_devices if given.device else on_host)(truth, maps)


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.split(","))
    return height, width


if __name__ == "__main__":
    main()
