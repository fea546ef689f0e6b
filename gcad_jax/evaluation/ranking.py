"""Where the pixels of regions stand among the negatives, exactly or enclosed.

For a region pixel of score v everything that sPRO needs is the number of negatives with
a score above v, and the number with a score of at least v. Areas, curves, every choice
of saturation and every limit follow from them without the scores.

The exact mode sorts the negatives and looks every distinct score of a region up. The
binned mode counts them by narrow intervals of scores, which is faster and needs little
memory, and encloses both numbers; it narrows the intervals until the AU-sPRO of every
kind and defect type is known to the tolerance.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gcad_jax import checks
from gcad_jax.data.category import LOGICAL, STRUCTURAL
from gcad_jax.evaluation import binning, histogram
from gcad_jax.evaluation.device import DeviceMaps
from gcad_jax.evaluation.limits import LIMITS
from gcad_jax.evaluation.maps import MapSource
from gcad_jax.evaluation.regions import GroundTruth, Subset
from gcad_jax.evaluation.sorting import Sorted, sort_pixels

AUTO, EXACT, BINNED = "auto", "exact", "binned"
MOST_FINER = 32  # times as many cells of a block in one step
EXACT_PIXELS = 2**25  # up to which "auto" is exact


@dataclasses.dataclass(frozen=True)
class Precision:
    """How exact the pass is to be.

    mode: "exact"; "binned", whose values come with a bound; "auto" is exact where that
        takes a few seconds at most, or where cells cannot keep the tolerance.
    tolerance: the bound of a binned value of a kind or a defect type is below it, as
        far as float32 can tell the scores apart.
    workers: threads; 0 takes one for each processor, at most 8.
    """

    mode: str = AUTO
    tolerance: float = 1e-5
    workers: int = 0

    def __post_init__(self) -> None:
        checks.one_of("mode", self.mode, (AUTO, EXACT, BINNED))
        checks.positive("tolerance", self.tolerance)


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The regions of one subset after the pass.

    Every region pixel has a slot: its score, or the interval in which its score lies.
    Slots ascend with the scores.

    subset: which regions.
    negatives: number of negatives of the subset.
    above, reached: (T,) for each slot, negatives with a score above all of the slot,
        and with one of the slot or above; reached >= above.
    loose: (T,) bool, slots of several scores: there the two numbers of a pixel are
        only known to lie between `above` and `reached`.
    highest: (T,) above the scores of the slot, or equal, and below those of the next.
    slots: for each region the slots of its pixels, (A,) int32 descending.
    """

    subset: Subset
    negatives: int
    above: np.ndarray
    reached: np.ndarray
    loose: np.ndarray
    highest: np.ndarray
    slots: tuple[np.ndarray, ...]

    def threshold(self, rate: float) -> tuple[float, float] | None:
        """The lowest slot's t such that {score > t} has at most this rate; its rate.

        None where there are no negatives.
        """
        allowed = self.above <= rate * self.negatives
        if not (allowed.any() and self.negatives):
            return None
        place = int(np.argmax(allowed))
        return float(self.highest[place]), float(self.above[place] / self.negatives)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """What one set of maps leaves behind.

    image_scores: (N,) float64, the maximum of each map [P 5.5].
    kinds, defects: by name; a kind without regions is left out.
    exact: whether the exact mode was taken.
    """

    image_scores: np.ndarray
    kinds: Mapping[str, Ranks]
    defects: Mapping[str, Ranks]
    exact: bool


def rank(
    truth: GroundTruth,
    source: MapSource | DeviceMaps,
    precision: Precision | None = None,
) -> Ranking:
    """One set of maps against the ground truth; the binned mode of `DeviceMaps` runs
    on their devices, all else on the host.

    Raises:
      UserError: a map of another size than its image, or with NaN or Inf.
    """
    precision = precision or Precision()
    kinds = [s for kind in (STRUCTURAL, LOGICAL) if (s := truth.kind(kind))]
    types = [s for name in truth.defect_names() if (s := truth.defect(name))]
    pixels = sum(image.height * image.width for image in truth.images)
    exact = precision.mode == EXACT or (
        precision.mode == AUTO and pixels <= EXACT_PIXELS
    )
    subsets = (*kinds, *types)
    if not exact:
        image_scores, ranks = _enclosed(truth, subsets, source, precision)
        exact = precision.mode == AUTO and not _within(truth, ranks, precision)
    if exact:
        image_scores, ranks = _exactly(truth, subsets, source, precision)
    return Ranking(
        image_scores,
        kinds={r.subset.name: r for r in ranks[: len(kinds)]},
        defects={r.subset.name: r for r in ranks[len(kinds) :]},
        exact=exact,
    )


# -- exact -------------------------------------------------------------------------


def _exactly(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    source: MapSource | DeviceMaps,
    precision: Precision,
) -> tuple[np.ndarray, list[Ranks]]:
    source = source.host() if isinstance(source, DeviceMaps) else source
    pixels = sort_pixels(truth, subsets, source, precision.workers)
    scores = [*pixels.regions, *(_at_limits(pixels, k) for k in range(len(subsets)))]
    edges = np.unique(np.concatenate(scores)) if scores else np.empty(0)
    counts = _counts(pixels, len(subsets), edges, precision.workers)
    slots = [
        np.searchsorted(edges, region)[::-1].astype(np.int32)
        for region in pixels.regions
    ]
    return pixels.image_scores, [
        Ranks(
            subset,
            truth.negatives(subset),
            above=above,
            reached=reached,
            loose=np.zeros(edges.size, bool),
            highest=edges,
            slots=tuple(slots[r] for r in subset.regions),
        )
        for subset, (above, reached) in zip(subsets, counts, strict=True)
    ]


def _at_limits(pixels: Sorted, subset: int) -> np.ndarray:
    """Scores of negatives at the limits, so that a threshold meets a wanted rate."""
    pairs = zip(pixels.chunks, pixels.pilots, strict=True)
    parts = [pilot for chunk, pilot in pairs if subset in chunk.subsets]
    pilot = np.sort(np.concatenate(parts))
    places = pilot.size - 1 - np.floor(np.asarray(LIMITS) * pilot.size).astype(int)
    return pilot[np.clip(places, 0, None)] if pilot.size else pilot


def _counts(
    pixels: Sorted, subsets: int, edges: np.ndarray, workers: int
) -> np.ndarray:  # (subsets, 2, E) int64
    """Negatives above, and at or above, each edge."""
    totals = np.zeros((subsets, 2, edges.size), np.int64)
    wanted = [k for k, chunk in enumerate(pixels.chunks) if chunk.subsets]

    def one(position: int) -> np.ndarray:
        return count(pixels.negatives(position), edges)

    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for position, counts in zip(wanted, pool.map(one, wanted), strict=True):
            for k in pixels.chunks[position].subsets:
                totals[k] += counts
    return totals


def count(negatives: np.ndarray, edges: np.ndarray) -> np.ndarray:  # (2, E)
    """Negatives (ascending) above, and at or above, each of the ascending edges."""
    below = np.searchsorted(negatives, edges, side="left")
    up_to = below.copy()
    tied = below < negatives.size
    tied[tied] = negatives[below[tied]] == edges[tied]
    up_to[tied] = np.searchsorted(negatives, edges[tied], side="right")
    return negatives.size - np.stack([up_to, below])


# -- binned ------------------------------------------------------------------------


def _enclosed(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    source: MapSource | DeviceMaps,
    precision: Precision,
) -> tuple[np.ndarray, list[Ranks]]:
    tolerance = precision.tolerance
    kinds = [s for s in subsets if s.name in (STRUCTURAL, LOGICAL)]
    ties = False
    if isinstance(source, DeviceMaps):
        parts = source.sample(truth, kinds, tolerance)
    else:
        parts, ties = histogram.sample(truth, kinds, source, tolerance)
    cells = binning.Cells.of(parts)
    while True:
        if isinstance(source, DeviceMaps):
            counted = source.count(truth, subsets, cells)
        else:
            counted = histogram.count_cells(
                truth, subsets, source, cells, ties, precision.workers
            )
        ranks = _cell_ranks(truth, subsets, cells, counted)
        if _within(truth, ranks, precision):
            return counted.image_scores, ranks
        finer = _finer(ranks, cells, tolerance)
        if finer is None and ties:
            return counted.image_scores, ranks
        if isinstance(source, DeviceMaps):
            if finer is None:  # ties, which only the host looks for
                source, ties = source.host(), True
        else:
            ties = True
        cells = finer or cells


def _cell_ranks(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    cells: binning.Cells,
    counted: histogram.Counted,
) -> list[Ranks]:
    reached = np.cumsum(counted.counts[:, ::-1], axis=1)[:, ::-1]
    # Where a float64 score still rounds into the cell.
    top = cells.highest()
    with np.errstate(over="ignore"):
        following = np.nextafter(top, np.float32(np.inf)).astype(float)
    highest = np.where(np.isinf(following), top, (top + following) / 2)
    return [
        Ranks(
            subset,
            truth.negatives(subset),
            above=up_to - own,
            reached=up_to,
            loose=counted.loose,
            highest=highest,
            slots=tuple(counted.slots[r] for r in subset.regions),
        )
        for subset, own, up_to in zip(subsets, counted.counts, reached, strict=True)
    ]


def _finer(
    ranks: Sequence[Ranks], cells: binning.Cells, tolerance: float
) -> binning.Cells | None:
    """More cells where they are too wide; None where there cannot be more."""
    excess = np.zeros(cells.count)
    for of_subset in ranks:
        if not of_subset.negatives:
            continue
        x0 = of_subset.above / of_subset.negatives
        x1 = of_subset.reached / of_subset.negatives
        wide = (x1 - x0) / binning.allowed_width(x0, tolerance)
        used = np.zeros(cells.count, bool)
        for slots in of_subset.slots:
            used[slots] = True
        excess = np.maximum(excess, np.where(of_subset.loose & used, wide, 0))
    needed = np.zeros(binning.BLOCKS)
    np.maximum.at(needed, cells.blocks(), excess)
    factor = np.where(needed > 1, np.clip(2 * np.ceil(needed), 2, MOST_FINER), 1)
    finer = binning.Cells.of(cells.parts * factor)
    if finer.count == cells.count or finer.count > binning.MOST_CELLS:
        return None
    return finer


def _within(truth: GroundTruth, ranks: Sequence[Ranks], precision: Precision) -> bool:
    """Whether no bound is above the tolerance."""
    return all(_bound(of, truth.saturations) <= precision.tolerance for of in ranks)


def _bound(ranks: Ranks, saturations: np.ndarray) -> float:
    """Half of the widest enclosure of the subset's AU-sPRO, over the limits."""
    if not ranks.negatives:
        return 0.0
    limits = np.asarray(LIMITS)
    x0 = np.minimum((ranks.above / ranks.negatives)[:, None], limits)
    x1 = np.minimum((ranks.reached / ranks.negatives)[:, None], limits)
    width = np.where(ranks.loose[:, None], x1 - x0, 0) / limits
    sizes = saturations[list(ranks.subset.regions)]
    pairs = zip(ranks.slots, sizes, strict=True)
    gaps = np.array([width[slots[:size]].sum(axis=0) / size for slots, size in pairs])
    return float(gaps.mean(axis=0).max() / 2)
