"""python -m gcad_jax.evaluation.benchmark: the time of a full-size category.

310 test images of 1000 x 1700 pixels, as large as the largest category of MVTec LOCO
AD, with smooth random maps that are brighter on the anomalies. Times are of this
machine; compare the rows with each other and with `numpy.sort` of as many scores.
"""

import resource
import sys
import time

import numpy as np

from gcad_jax.data.category import GOOD, LOGICAL, STRUCTURAL, Region, TestImage
from gcad_jax.evaluation import spro
from gcad_jax.evaluation.maps import MapSource, upsample
from gcad_jax.evaluation.ranking import BINNED, EXACT, Precision, rank
from gcad_jax.evaluation.regions import GroundTruth

HEIGHT, WIDTH, SIDE = 1000, 1700, 64
COUNTS = {GOOD: 138, STRUCTURAL: 91, LOGICAL: 81}


def category(scale: float = 1.0) -> tuple[GroundTruth, np.ndarray]:
    """Ground truth and maps (N, SIDE, SIDE) float32; scale: of the image counts."""
    random = np.random.default_rng(0)
    images = []
    for kind, count in COUNTS.items():
        for number in range(max(1, round(count * scale))):
            regions: tuple[Region, ...] = ()
            if kind != GOOD:
                regions = tuple(
                    _box(random, kind) for _ in range(random.integers(1, 3))
                )
            name = f"{kind}/{number:03d}"
            images.append(TestImage(name, kind, HEIGHT, WIDTH, regions))
    maps = random.normal(size=(len(images), SIDE, SIDE)).astype(np.float32)
    for image, scores in zip(images, maps, strict=True):
        for region in image.regions:
            y, x = np.unravel_index(region.pixels[[0, -1]], (HEIGHT, WIDTH))
            rows = slice(y[0] * SIDE // HEIGHT, y[1] * SIDE // HEIGHT + 1)
            scores[rows, x[0] * SIDE // WIDTH : x[1] * SIDE // WIDTH + 1] += 1.5
    return GroundTruth.build(images), maps


def _box(random: np.random.Generator, kind: str) -> Region:
    height, width = random.integers(60, 260, 2)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    top, left = random.integers(0, HEIGHT - height), random.integers(0, WIDTH - width)
    mask[top : top + height, left : left + width] = True
    name = f"{kind} {random.integers(3)}"
    third = float(height * width // 3)
    return Region(name, 255, third, False, np.flatnonzero(mask).astype(np.int32))


def timed(truth: GroundTruth, source: MapSource, mode: str) -> tuple[float, float]:
    """Seconds from maps to all AU-sPRO of one mode, and the largest bound."""
    start = time.perf_counter()
    ranking = rank(truth, source, Precision(mode))
    subsets = (*ranking.kinds.values(), *ranking.defects.values())
    found = [spro.areas(ranks, truth.saturations) for ranks in subsets]
    seconds = time.perf_counter() - start
    return seconds, max(areas.bound for areas in found if areas)


def main(scale: float = 1.0) -> None:
    """Prints a line for each way of scoring the same maps, twice each."""
    truth, maps = category(scale)
    images = truth.images
    pixels = len(images) * HEIGHT * WIDTH
    print(f"{len(images)} maps, {pixels:,} pixels, {truth.areas.sum():,} of regions")

    def fused(i: int) -> np.ndarray:
        return upsample(maps[i], HEIGHT, WIDTH)

    def line(name: str, seconds: float, note: str = "") -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{name:<34}{seconds:8.2f} s  peak {peak:5.2f} GiB  {note}", flush=True)

    for _ in range(2):
        seconds, bound = timed(truth, fused, BINNED)
        line(f"binned, up-sampled from {SIDE}x{SIDE}", seconds, f"bound {bound:.1e}")
    full = [fused(i) for i in range(len(images))]
    for mode in (BINNED, BINNED, EXACT):
        seconds, bound = timed(truth, full.__getitem__, mode)
        line(f"{mode}, maps in memory", seconds, f"bound {bound:.1e}")
    start = time.perf_counter()
    for scores in full:
        np.sort(scores, axis=None)
    line("numpy.sort of each map, one thread", time.perf_counter() - start)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
