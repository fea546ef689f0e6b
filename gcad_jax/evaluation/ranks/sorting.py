"""The pass over the pixels: scores of regions, and negatives in order, in chunks.

Images that count for the same subsets form a group, and some images of a group a
chunk: their negatives, sorted together. How many of them lie above a score is then a
binary search, and the numbers of several chunks add up; so nothing needs the negatives
of a category at once. They are kept where they fit into memory, else sorted again when
they are asked for.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.threads import thread_pool
from gcad_jax.data.dataset import GOOD, TestImage
from gcad_jax.evaluation.ground_truth import GroundTruth, Subset
from gcad_jax.evaluation.map_source import MapSource

CHUNK_PIXELS = 2**24
KEPT_BYTES = 9 * 2**28  # of sorted negatives: 2.25 GiB
PILOT = 2**23  # negatives that show where the others lie


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Images of one group that are sorted together.

    images: their indices. subsets: positions of the subsets for which they count.
    """

    images: tuple[int, ...]
    subsets: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class SortedPixels:
    """What the pass leaves.

    image_scores: (N,) float64, the maximum of each map [P 5.5].
    regions: scores of each region, (A,) ascending.
    chunks: of all images that count for any subset.
    negatives: of a chunk (by position), ascending; sorted again where not kept.
    pilots: negatives of each chunk at equal distances, ascending; all where few.
    """

    image_scores: np.ndarray
    regions: tuple[np.ndarray, ...]
    chunks: tuple[Chunk, ...]
    negatives: Callable[[int], np.ndarray]
    pilots: tuple[np.ndarray, ...]


def sort_pixels(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    source: MapSource,
    workers: int = 0,
) -> SortedPixels:
    """Reads every map by several threads, once if its negatives may be kept.

    workers: threads; 0 takes one for each processor, at most 8.

    Raises:
      UserError: a map of another size than its image, or with NaN or Inf.
    """
    chunks = group_into_chunks(truth, subsets)
    pixels = sum(image.height * image.width for image in truth.images)
    stride = max(1, pixels // PILOT)
    image_scores = np.zeros(len(truth.images))
    regions: list[np.ndarray] = [np.empty(0)] * len(truth.regions)

    def read_negatives(i: int) -> np.ndarray:
        scores = validate_map(source(i), truth.images[i])
        image_scores[i] = scores.max()
        for r in truth.regions_of(i):
            regions[r] = np.sort(scores[truth.regions[r].pixels])
        return np.delete(scores, truth.unions[i]) if truth.unions[i].size else scores

    def sort_negatives(chunk: Chunk) -> np.ndarray:
        parts = [read_negatives(i) for i in chunk.images]
        if not chunk.subsets:
            return np.empty(0, np.float32)
        negatives = np.concatenate(parts)
        del parts  # before the sort, which is when memory is highest
        negatives.sort()
        return negatives

    def sort_chunk(chunk: Chunk) -> tuple[np.ndarray | None, np.ndarray]:
        negatives = sort_negatives(chunk)
        # In the middle of its stride, so that a chunk is represented evenly.
        pilot = negatives[stride // 2 :: stride].copy()
        keep = pixels * negatives.itemsize <= KEPT_BYTES
        return (negatives if keep else None), pilot

    with thread_pool(workers) as threads:
        sorted_chunks = list(threads.map(sort_chunk, chunks))
    kept = {k: negatives for k, (negatives, _) in enumerate(sorted_chunks)}

    def negatives(position: int) -> np.ndarray:
        known = kept[position]
        return sort_negatives(chunks[position]) if known is None else known

    return SortedPixels(
        image_scores=image_scores,
        regions=tuple(regions),
        chunks=tuple(chunks),
        negatives=negatives,
        pilots=tuple(pilot for _, pilot in sorted_chunks),
    )


def group_into_chunks(truth: GroundTruth, subsets: Sequence[Subset]) -> list[Chunk]:
    """All images, in chunks of a group; good images count for every subset."""
    groups: dict[tuple[int, ...], list[int]] = {}
    anomalous = [frozenset(subset.images) for subset in subsets]
    for i, image in enumerate(truth.images):
        counts_for = tuple(
            k for k, own in enumerate(anomalous) if image.kind == GOOD or i in own
        )
        groups.setdefault(counts_for, []).append(i)
    chunks = []
    for counts_for, images in groups.items():
        part, size = [], 0
        for i in images:
            part.append(i)
            size += truth.images[i].height * truth.images[i].width
            if size >= CHUNK_PIXELS or i == images[-1]:
                chunks.append(Chunk(tuple(part), counts_for))
                part, size = [], 0
    return chunks


def validate_map(scores: np.ndarray, image: TestImage) -> np.ndarray:  # (H * W,)
    """The scores of one map, flat, as float32 or float64; every value is kept."""
    if scores.shape != (image.height, image.width):
        raise UserError(
            f"The anomaly map of test image {image.name} has shape {scores.shape}; its "
            f"image has {(image.height, image.width)}, and both must be equal."
        )
    # float32 halves memory and time of sorting, where it keeps every value.
    exact_in_float32 = np.can_cast(scores.dtype, np.float32)
    scores = scores.astype(np.float32 if exact_in_float32 else np.float64, copy=False)
    # NaN wins both, and infinity one of them: no array of booleans is needed.
    if not (np.isfinite(scores.max()) and np.isfinite(scores.min())):
        raise UserError(
            f"The anomaly map of test image {image.name} holds NaN or infinite scores; "
            "every score must be finite."
        )
    return scores.reshape(-1)
