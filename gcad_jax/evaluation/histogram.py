"""The pass over the pixels in binned mode: negatives counted by cells.

Maps are read one after the other by each thread, and nothing of their size is kept:
memory is that of the cells, of the scores of regions, and of one map a thread.
"""

import dataclasses
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gcad_jax.evaluation.binning import BLOCKS, Cells, for_sample
from gcad_jax.evaluation.maps import MapSource
from gcad_jax.evaluation.regions import GroundTruth, Subset
from gcad_jax.evaluation.sorting import checked, divide

SAMPLE_IMAGES = 24
SAMPLE_PIXELS = 2**22
MOST_WITH_TIES = 256  # cells of a block at first: one score may be most of it


@dataclasses.dataclass(frozen=True)
class Counted:
    """What the pass leaves.

    image_scores: (N,) float64. counts: (subsets, T) int64 negatives of each cell.
    slots: for each region the cells of its pixels, (A,) int32 descending.
    loose: (T,) bool, cells that may hold several distinct scores.
    """

    image_scores: np.ndarray
    counts: np.ndarray
    slots: tuple[np.ndarray, ...]
    loose: np.ndarray


def sample(
    truth: GroundTruth, subsets: Sequence[Subset], source: MapSource, tolerance: float
) -> tuple[np.ndarray, bool]:  # (BLOCKS,)
    """How many cells each block needs, by some pixels of some images.

    And whether to look for cells that hold one distinct score: where many scores are
    equal, or are more precise than float32.
    """
    needed, ties = np.ones(BLOCKS), False
    for subset in subsets:
        images = (*truth.of_kind("good"), *subset.images)
        chosen = images[:: max(1, len(images) // SAMPLE_IMAGES)]
        scores = []
        for i in chosen:
            flat = checked(source(i), truth.images[i])
            ties |= flat.dtype == np.float64
            flat = _single(flat)
            stride = max(1, flat.size * len(chosen) // SAMPLE_PIXELS)
            scores.append(np.delete(flat, truth.unions[i])[::stride])
        every = np.concatenate(scores)
        ties |= 2 * np.unique(every).size < every.size
        needed = np.maximum(needed, for_sample(every, tolerance))
    return (np.minimum(needed, MOST_WITH_TIES) if ties else needed), ties


def count_cells(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    source: MapSource,
    cells: Cells,
    ties: bool = True,
    workers: int = 0,
) -> Counted:
    """Reads every map once, by several threads.

    ties: look for cells that hold one distinct score. Without it those are known that
        can hold but one float32, and a map in float64 makes every cell loose.

    Raises:
      UserError: a map of another size than its image, or with NaN or Inf.
    """
    image_scores = np.zeros(len(truth.images))
    counts = np.zeros((len(subsets), cells.count), np.int64)
    slots: list[np.ndarray] = [np.empty(0, np.int32)] * len(truth.regions)
    distinct = _Distinct(cells, ties)
    adding = threading.Lock()
    of_image: list[list[int]] = [[] for _ in truth.images]
    for r, i in enumerate(truth.region_images):
        of_image[i].append(r)

    def one(task: tuple[int, tuple[int, ...]]) -> None:
        i, belongs = task
        scores = checked(source(i), truth.images[i])
        image_scores[i] = scores.max()
        if not belongs:
            return
        places = cells.place(_single(scores))
        for r in of_image[i]:
            slots[r] = np.sort(places[truth.regions[r].pixels].astype(np.int32))[::-1]
        found = np.bincount(places, minlength=cells.count)
        np.subtract.at(found, places[truth.unions[i]], 1)
        with adding:
            distinct.see(places, scores)
            for k in belongs:
                counts[k] += found

    tasks = [(i, c.subsets) for c in divide(truth, subsets) for i in c.images]
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(one, tasks):
            pass
    return Counted(image_scores, counts, tuple(slots), distinct.loose)


def _single(scores: np.ndarray) -> np.ndarray:
    """Scores as float32, ascending with them."""
    with np.errstate(over="ignore", under="ignore"):
        return scores.astype(np.float32, copy=False)


class _Distinct:
    """Which cells hold several distinct scores, or might."""

    def __init__(self, cells: Cells, ties: bool) -> None:
        self._seen = np.full(cells.count, np.nan) if ties else None
        self.loose = np.zeros(cells.count, bool) if ties else ~cells.single()

    def see(self, places: np.ndarray, scores: np.ndarray) -> None:
        """Compares the scores of a map with one of each cell."""
        if self._seen is None:
            if scores.dtype == np.float64:
                self.loose[:] = True
            return
        new = np.isnan(self._seen[places])
        self._seen[places[new]] = scores[new]
        self.loose[places[self._seen[places] != scores]] = True
