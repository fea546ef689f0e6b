"""The pass over the pixels in binned mode: negatives counted by cells.

Maps are read one after the other by each thread, and nothing of their size is kept:
memory is that of the cells, of the scores of regions, and of one map a thread.
"""

import dataclasses
import threading
from collections.abc import Sequence

import numpy as np

from gcad_jax.core.machine.threads import Scratch, thread_pool
from gcad_jax.data.dataset import GOOD
from gcad_jax.evaluation import map_source
from gcad_jax.evaluation.ground_truth import GroundTruth, Subset
from gcad_jax.evaluation.map_source import MapSource
from gcad_jax.evaluation.ranks import ties
from gcad_jax.evaluation.ranks.bins import BLOCKS, Cells, cells_for_sample
from gcad_jax.evaluation.ranks.sorting import group_into_chunks, validate_map

SAMPLE_IMAGES = 24
SAMPLE_PIXELS = 2**22


@dataclasses.dataclass(frozen=True)
class CellCounts:
    """What the pass leaves.

    image_scores: (N,) float64. counts: (subsets, T) int64 negatives of each cell.
    pixel_bins: for each region the cells of its pixels, (A,) int32 descending.
    ambiguous: (T,) bool, cells that may hold several distinct scores.
    """

    image_scores: np.ndarray
    counts: np.ndarray
    pixel_bins: tuple[np.ndarray, ...]
    ambiguous: np.ndarray


def choose_cells(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    source: MapSource,
    tolerance: float,
    workers: int = 0,
) -> tuple[np.ndarray, bool]:  # (BLOCKS,)
    """How many cells each block needs, by some pixels of some images.

    And whether to look for cells that hold one distinct score, as there are many.
    """
    every = [(*truth.images_of_kind(GOOD), *subset.images) for subset in subsets]
    sampled = [images[:: max(1, len(images) // SAMPLE_IMAGES)] for images in every]
    pixels_an_image = SAMPLE_PIXELS // max(map(len, sampled), default=1)
    space = Scratch()

    def sample_negatives(i: int) -> np.ndarray:
        flat = validate_map(map_source.fetch_map(source, i, space), truth.images[i])
        stride = max(1, flat.size // pixels_an_image)
        union = truth.unions[i]
        covered = union[union % stride == 0] // stride
        return np.delete(_as_float32(flat[::stride]), covered)

    images = sorted(set().union(*sampled))
    with thread_pool(workers) as threads:
        samples = dict(zip(images, threads.map(sample_negatives, images), strict=True))
    needed, quantized = np.ones(BLOCKS), False
    for of_subset in sampled:
        scores = np.concatenate([samples[i] for i in of_subset])
        parts, many = ties.isolate_common_scores(
            cells_for_sample(scores, tolerance), scores
        )
        needed, quantized = np.maximum(needed, parts), quantized or many
    return needed, quantized


def count_cells(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    source: MapSource,
    cells: Cells,
    quantized: bool = True,
    workers: int = 0,
) -> CellCounts:
    """Reads every map once, by several threads.

    quantized: look for cells that hold one distinct score. Without it those are known
        that can hold but one float32, and no other number.

    Raises:
      UserError: a map of another size than its image, or with NaN or Inf.
    """
    image_scores = np.zeros(len(truth.images))
    counts = np.zeros((len(subsets), cells.count), np.int64)
    # Of good images, which count for every subset: added once, not to each.
    counts_of_good = np.zeros(cells.count, np.int64)
    pixel_bins: list[np.ndarray] = [np.empty(0, np.int32)] * len(truth.regions)
    ambiguity = ties.AmbiguityTracker(cells, quantized)
    adding = threading.Lock()
    space = Scratch()

    def count_image(task: tuple[int, tuple[int, ...]]) -> None:
        i, subsets_of_image = task
        scores = validate_map(map_source.fetch_map(source, i, space), truth.images[i])
        image_scores[i] = scores.max()
        if not subsets_of_image:
            return
        single = _as_float32(scores, space)
        places = cells.place(single, space)
        for r in truth.regions_of(i):
            ascending = np.sort(places[truth.regions[r].pixels].astype(np.int32))
            pixel_bins[r] = ascending[::-1]
        negatives = np.bincount(places, minlength=cells.count)
        np.subtract.at(negatives, places[truth.unions[i]], 1)
        ambiguity.update(places, scores, single, space)
        shared = len(subsets_of_image) == len(subsets)
        with adding:
            if shared:
                counts_of_good[:] += negatives
            else:
                for k in subsets_of_image:
                    counts[k] += negatives

    tasks = [
        (i, c.subsets) for c in group_into_chunks(truth, subsets) for i in c.images
    ]
    with thread_pool(workers) as threads:
        for _ in threads.map(count_image, tasks):
            pass
    counts += counts_of_good
    return CellCounts(image_scores, counts, tuple(pixel_bins), ambiguity.ambiguous())


def _as_float32(scores: np.ndarray, space: Scratch | None = None) -> np.ndarray:
    """Scores as float32, ascending with them; in `space` where they are converted."""
    if scores.dtype == np.float32:
        return scores
    single = (space or Scratch()).array("single", scores.size, np.float32)
    with np.errstate(over="ignore", under="ignore"):
        np.copyto(single, scores, casting="same_kind")
    return single
