"""The pass over the pixels in binned mode: negatives counted by cells.

Maps are read one after the other by each thread, and nothing of their size is kept:
memory is that of the cells, of the scores of regions, and of one map a thread.
"""

import dataclasses
import threading
from collections.abc import Sequence

import numpy as np

from gcad_jax.core.threads import Scratch, thread_pool
from gcad_jax.data.dataset import GOOD
from gcad_jax.evaluation import map_source
from gcad_jax.evaluation.ground_truth import GroundTruth, Subset
from gcad_jax.evaluation.map_source import MapSource
from gcad_jax.evaluation.ranks import ties
from gcad_jax.evaluation.ranks.bins import BLOCKS, Cells, for_sample
from gcad_jax.evaluation.ranks.sorting import checked, divide

SAMPLE_IMAGES = 24
SAMPLE_PIXELS = 2**22


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
    truth: GroundTruth,
    subsets: Sequence[Subset],
    source: MapSource,
    tolerance: float,
    workers: int = 0,
) -> tuple[np.ndarray, bool]:  # (BLOCKS,)
    """How many cells each block needs, by some pixels of some images.

    And whether to look for cells that hold one distinct score, as there are many.
    """
    every = [(*truth.of_kind(GOOD), *subset.images) for subset in subsets]
    chosen = [images[:: max(1, len(images) // SAMPLE_IMAGES)] for images in every]
    wanted = SAMPLE_PIXELS // max(map(len, chosen), default=1)
    space = Scratch()

    def some(i: int) -> np.ndarray:
        flat = checked(map_source.fetch_map(source, i, space), truth.images[i])
        stride = max(1, flat.size // wanted)
        union = truth.unions[i]
        covered = union[union % stride == 0] // stride
        return np.delete(_single(flat[::stride]), covered)

    images = sorted(set().union(*chosen))
    with thread_pool(workers) as threads:
        found = dict(zip(images, threads.map(some, images), strict=True))
    needed, quantized = np.ones(BLOCKS), False
    for of_subset in chosen:
        scores = np.concatenate([found[i] for i in of_subset])
        parts, many = ties.separate(for_sample(scores, tolerance), scores)
        needed, quantized = np.maximum(needed, parts), quantized or many
    return needed, quantized


def count_cells(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    source: MapSource,
    cells: Cells,
    quantized: bool = True,
    workers: int = 0,
) -> Counted:
    """Reads every map once, by several threads.

    quantized: look for cells that hold one distinct score. Without it those are known
        that can hold but one float32, and no other number.

    Raises:
      UserError: a map of another size than its image, or with NaN or Inf.
    """
    image_scores = np.zeros(len(truth.images))
    counts = np.zeros((len(subsets), cells.count), np.int64)
    in_all = np.zeros(cells.count, np.int64)  # of good images
    slots: list[np.ndarray] = [np.empty(0, np.int32)] * len(truth.regions)
    distinct = ties.Distinct(cells, quantized)
    adding = threading.Lock()
    space = Scratch()

    def one(task: tuple[int, tuple[int, ...]]) -> None:
        i, belongs = task
        scores = checked(map_source.fetch_map(source, i, space), truth.images[i])
        image_scores[i] = scores.max()
        if not belongs:
            return
        single = _single(scores, space)
        places = cells.place(single, space)
        for r in truth.regions_of(i):
            slots[r] = np.sort(places[truth.regions[r].pixels].astype(np.int32))[::-1]
        found = np.bincount(places, minlength=cells.count)
        np.subtract.at(found, places[truth.unions[i]], 1)
        distinct.see(places, scores, single, space)
        shared = len(belongs) == len(subsets)
        with adding:
            for total in [in_all] if shared else [counts[k] for k in belongs]:
                total += found

    tasks = [(i, c.subsets) for c in divide(truth, subsets) for i in c.images]
    with thread_pool(workers) as threads:
        for _ in threads.map(one, tasks):
            pass
    counts += in_all
    return Counted(image_scores, counts, tuple(slots), distinct.loose())


def _single(scores: np.ndarray, space: Scratch | None = None) -> np.ndarray:
    """Scores as float32, ascending with them; in `space` where they are converted."""
    if scores.dtype == np.float32:
        return scores
    single = (space or Scratch()).array("single", scores.size, np.float32)
    with np.errstate(over="ignore", under="ignore"):
        np.copyto(single, scores, casting="same_kind")
    return single
