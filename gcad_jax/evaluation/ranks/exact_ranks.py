"""Exact ranks: the negatives are sorted, and every score of a region is looked up."""

from collections.abc import Sequence

import numpy as np

from gcad_jax.core.machine.threads import thread_pool
from gcad_jax.evaluation.ground_truth import GroundTruth, Subset
from gcad_jax.evaluation.map_source import MapSource
from gcad_jax.evaluation.ranks.ranks import Ranks
from gcad_jax.evaluation.ranks.sorting import SortedPixels, sort_pixels
from gcad_jax.evaluation.spro import LIMITS


def exact_ranks(
    truth: GroundTruth, subsets: Sequence[Subset], source: MapSource, workers: int = 0
) -> tuple[np.ndarray, list[Ranks]]:
    """Image scores (N,), and the ranks of each subset.

    Raises:
      UserError: a map of another size than its image, or with NaN or Inf.
    """
    pixels = sort_pixels(truth, subsets, source, workers)
    scores = [
        *pixels.regions,
        *(_scores_at_limits(pixels, k) for k in range(len(subsets))),
    ]
    # Every score at which a count of negatives will be asked for.
    edges = np.unique(np.concatenate(scores)) if scores else np.empty(0)
    counts = _count_at_edges(pixels, len(subsets), edges, workers)
    pixel_bins = [
        np.searchsorted(edges, region)[::-1].astype(np.int32)
        for region in pixels.regions
    ]
    return pixels.image_scores, [
        Ranks(
            subset,
            truth.count_negatives(subset),
            above=above,
            reached=reached,
            ambiguous=np.zeros(edges.size, bool),
            highest=edges,
            pixel_bins=tuple(pixel_bins[r] for r in subset.regions),
        )
        for subset, (above, reached) in zip(subsets, counts, strict=True)
    ]


def _scores_at_limits(pixels: SortedPixels, subset: int) -> np.ndarray:
    """Scores of negatives at the limits, so that a threshold meets a wanted rate."""
    pairs = zip(pixels.chunks, pixels.pilots, strict=True)
    parts = [pilot for chunk, pilot in pairs if subset in chunk.subsets]
    pilot = np.sort(np.concatenate(parts))
    places = pilot.size - 1 - np.floor(np.asarray(LIMITS) * pilot.size).astype(int)
    return pilot[np.clip(places, 0, None)] if pilot.size else pilot


def _count_at_edges(
    pixels: SortedPixels, subsets: int, edges: np.ndarray, workers: int
) -> np.ndarray:  # (subsets, 2, E) int64
    """Negatives above, and at or above, each edge."""
    totals = np.zeros((subsets, 2, edges.size), np.int64)
    used = [k for k, chunk in enumerate(pixels.chunks) if chunk.subsets]
    with thread_pool(workers) as threads:
        counted = threads.map(lambda k: count_above(pixels.negatives(k), edges), used)
        for position, counts in zip(used, counted, strict=True):
            for k in pixels.chunks[position].subsets:
                totals[k] += counts
    return totals


def count_above(negatives: np.ndarray, edges: np.ndarray) -> np.ndarray:  # (2, E)
    """Negatives (ascending) above, and at or above, each of the ascending edges."""
    # The second search is for tied edges alone: most scores occur once.
    below = np.searchsorted(negatives, edges, side="left")
    up_to = below.copy()
    tied = below < negatives.size
    tied[tied] = negatives[below[tied]] == edges[tied]
    up_to[tied] = np.searchsorted(negatives, edges[tied], side="right")
    return negatives.size - np.stack([up_to, below])
