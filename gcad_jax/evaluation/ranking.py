"""The one pass over the pixels: where region pixels stand among the negatives.

For a pixel of a region with score v, everything that sPRO needs is the number of
negatives with a score above v, and the number with a score of at least v. With the
pixels of a region in descending order both numbers ascend. Areas, curves, every
choice of saturation and every limit follow from them without the scores.

This is the exact pass, on the host with NumPy's vectorised sort. Images that belong to
the same subsets form a group; the negatives of a group are sorted once, and each
subset sums the counts of its groups.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gcad_jax.checks import UserError
from gcad_jax.data.category import GOOD, LOGICAL, STRUCTURAL, TestImage
from gcad_jax.evaluation.maps import MapSource
from gcad_jax.evaluation.regions import GroundTruth, Subset


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The regions of one subset after the pass; k-th entries are of one region.

    subset: which regions.
    negatives: number of negatives of the subset.
    above: false positives of {score > v} for each pixel, (A_k,) integer, ascending.
    reached: false positives of {score >= v}, likewise; reached >= above.
    """

    subset: Subset
    negatives: int
    above: tuple[np.ndarray, ...]
    reached: tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Ranking:
    """What one set of maps leaves behind.

    image_scores: (N,) float64, the maximum of each map [P 5.5].
    kinds, defects: by name; a kind without regions is left out.
    """

    image_scores: np.ndarray
    kinds: Mapping[str, Ranks]
    defects: Mapping[str, Ranks]


@dataclasses.dataclass(frozen=True)
class Group:
    """Images whose negatives count for the same subsets (by position)."""

    images: tuple[int, ...]
    subsets: tuple[int, ...]


def rank(truth: GroundTruth, source: MapSource) -> Ranking:
    """Reads every map once, by several threads.

    Peak memory: the scores of the category in their own type, and while a thread sorts
    a group a copy of it; less than twice the scores.

    Raises:
      UserError: a map of another size than its image, or with NaN or Inf.
    """
    kinds = [s for kind in (STRUCTURAL, LOGICAL) if (s := truth.kind(kind))]
    types = [s for name in truth.defect_names() if (s := truth.defect(name))]
    groups = group_images(truth, (*kinds, *types))
    image_scores = np.zeros(len(truth.images))
    regions: list[np.ndarray] = [np.empty(0)] * len(truth.regions)

    def read(group: Group) -> np.ndarray:
        negatives = []
        for i in group.images:
            scores = checked(source(i), truth.images[i])
            image_scores[i] = scores.max()
            for r in np.flatnonzero(truth.region_images == i):
                regions[r] = np.sort(scores[truth.regions[r].pixels])
            if group.subsets:
                negatives.append(np.delete(scores, truth.unions[i]))
        ordered = np.concatenate(negatives or [np.empty(0, np.float32)])
        ordered.sort()
        return ordered

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        ordered = list(pool.map(read, groups))
        ranks = _rank_regions(truth, (*kinds, *types), groups, ordered, regions, pool)
    return Ranking(
        image_scores,
        kinds={r.subset.name: r for r in ranks[: len(kinds)]},
        defects={r.subset.name: r for r in ranks[len(kinds) :]},
    )


def group_images(truth: GroundTruth, subsets: Sequence[Subset]) -> list[Group]:
    """All images by the subsets to which they belong; good ones belong to all."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(truth.images):
        belongs = tuple(
            k for k, s in enumerate(subsets) if image.kind == GOOD or i in s.images
        )
        groups.setdefault(belongs, []).append(i)
    return [Group(tuple(images), subsets) for subsets, images in groups.items()]


def checked(scores: np.ndarray, image: TestImage) -> np.ndarray:  # (H * W,)
    """The scores of one map, flat, as float32 or float64; every value is kept."""
    if scores.shape != (image.height, image.width):
        raise UserError(
            f"The anomaly map of test image {image.name} has shape {scores.shape}; its "
            f"image has {(image.height, image.width)}, and both must be equal."
        )
    exact_in_float32 = np.can_cast(scores.dtype, np.float32)
    scores = scores.astype(np.float32 if exact_in_float32 else np.float64, copy=False)
    if not (np.isfinite(scores.max()) and np.isfinite(scores.min())):
        raise UserError(
            f"The anomaly map of test image {image.name} holds NaN or infinite scores; "
            "every score must be finite."
        )
    return scores.reshape(-1)


def _rank_regions(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    groups: Sequence[Group],
    ordered: list[np.ndarray],  # negatives of each group, ascending
    regions: Sequence[np.ndarray],  # scores of each region, ascending
    pool: ThreadPoolExecutor,
) -> list[Ranks]:
    """Sums the counts of the groups of each subset."""
    if not subsets:
        return []
    pixels = np.concatenate(regions)
    # Searches in ascending order stay in the cache: eight times as fast.
    order = np.argsort(pixels)
    ascending = pixels[order]
    ends = np.cumsum(truth.areas)
    places = [slice(end - a, end) for end, a in zip(ends, truth.areas, strict=True)]
    totals = [
        {r: np.zeros((2, truth.areas[r]), np.int64) for r in subset.regions}
        for subset in subsets
    ]

    integer = np.int32 if max(map(len, ordered)) < 2**31 else np.int64

    def count(task: tuple[Group, np.ndarray]) -> np.ndarray:
        group, negatives = task
        asked = np.zeros(len(regions), bool)
        for k in group.subsets:
            asked[list(subsets[k].regions)] = True
        chosen = np.repeat(asked, truth.areas)[order]
        counts = np.zeros((2, pixels.size), integer)
        counts[:, order[chosen]] = _count(negatives, ascending[chosen])
        return counts

    tasks = zip(groups, ordered, strict=True)
    for group, counts in zip(groups, pool.map(count, tasks), strict=True):
        for k in group.subsets:
            for r, total in totals[k].items():
                total += counts[:, places[r]]
    return [
        Ranks(
            subset,
            truth.negatives(subset),
            above=tuple(total[r][0, ::-1] for r in subset.regions),
            reached=tuple(total[r][1, ::-1] for r in subset.regions),
        )
        for subset, total in zip(subsets, totals, strict=True)
    ]


def _count(negatives: np.ndarray, scores: np.ndarray) -> np.ndarray:  # (2, P)
    """Negatives (ascending) above, and at or above, each of the ascending scores."""
    below = np.searchsorted(negatives, scores, side="left")
    up_to = below.copy()
    tied = below < negatives.size
    tied[tied] = negatives[below[tied]] == scores[tied]
    up_to[tied] = np.searchsorted(negatives, scores[tied], side="right")
    return negatives.size - np.stack([up_to, below])
