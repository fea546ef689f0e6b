"""Enclosed ranks: negatives counted by cells, which are cut until AU-sPRO is known.

The negatives above a region pixel are those of all higher cells, and some of its own.
Where a cell leaves an AU-sPRO too uncertain it is cut, and the maps are read again.
"""

from collections.abc import Sequence

import numpy as np

from gcad_jax.data.dataset import LOGICAL, STRUCTURAL
from gcad_jax.evaluation import spro
from gcad_jax.evaluation.ground_truth import GroundTruth, Subset
from gcad_jax.evaluation.map_source import MapSource
from gcad_jax.evaluation.ranks import bins, histogram
from gcad_jax.evaluation.ranks.device_histogram import DeviceMaps
from gcad_jax.evaluation.ranks.ranks import Ranks

MOST_FINER = 32  # times as many cells of a block in one step


def bounded_ranks(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    source: MapSource | DeviceMaps,
    tolerance: float,
    workers: int = 0,
) -> tuple[np.ndarray, list[Ranks], list[spro.Areas | None]]:
    """Image scores (N,), and the ranks and areas of each subset.

    The bound of the areas is below the tolerance or, where float32 cannot tell scores
    apart or too many cells would be needed, above it. No areas without negatives.

    Raises:
      UserError: a map of another size than its image, or with NaN or Inf.
    """
    # Only kinds decide where cells are narrow at first; a defect type is part of one.
    kinds = [s for s in subsets if s.name in (STRUCTURAL, LOGICAL)]
    quantized = False
    if isinstance(source, DeviceMaps):
        parts = source.sample(truth, kinds, tolerance)
    else:
        parts, quantized = histogram.choose_cells(
            truth, kinds, source, tolerance, workers
        )
    cells = bins.Cells.of(parts)
    while True:
        if isinstance(source, DeviceMaps):
            counted = source.count(truth, subsets, cells)
        else:
            counted = histogram.count_cells(
                truth, subsets, source, cells, quantized, workers
            )
        ranks = _ranks_from_counts(truth, subsets, cells, counted)
        areas = [spro.areas(of_subset, truth.saturations) for of_subset in ranks]
        kept = all(a.bound <= tolerance for a in areas if a)
        finer = None if kept else _refine_cells(ranks, cells, tolerance)
        # Ties were looked for and cells cannot be cut further: the bound stands, and
        # the caller sees that it is above the tolerance.
        if kept or (finer is None and quantized):
            return counted.image_scores, ranks, areas
        # What made the bound too large may be ties, where cutting does not help; only
        # the host looks for them.
        if finer is None and isinstance(source, DeviceMaps):
            source = source.host()
        quantized = not isinstance(source, DeviceMaps)
        cells = finer or cells


def _ranks_from_counts(
    truth: GroundTruth,
    subsets: Sequence[Subset],
    cells: bins.Cells,
    counted: histogram.CellCounts,
) -> list[Ranks]:
    # From the highest cell down: negatives of this cell and of all above it.
    reached = np.cumsum(counted.counts[:, ::-1], axis=1)[:, ::-1]
    # Where a float64 score still rounds into the cell.
    top = cells.highest()
    with np.errstate(over="ignore"):
        following = np.nextafter(top, np.float32(np.inf)).astype(float)
    highest = np.where(np.isinf(following), top, (top + following) / 2)
    return [
        Ranks(
            subset,
            truth.count_negatives(subset),
            above=up_to - in_cell,
            reached=up_to,
            ambiguous=counted.ambiguous,
            highest=highest,
            pixel_bins=tuple(counted.pixel_bins[r] for r in subset.regions),
        )
        for subset, in_cell, up_to in zip(subsets, counted.counts, reached, strict=True)
    ]


def _refine_cells(
    ranks: Sequence[Ranks], cells: bins.Cells, tolerance: float
) -> bins.Cells | None:
    """More cells where they are too wide; None where there cannot be more."""
    excess = np.zeros(cells.count)
    for of_subset in ranks:
        if not of_subset.negatives:
            continue
        x0 = of_subset.above / of_subset.negatives
        x1 = of_subset.reached / of_subset.negatives
        wide = (x1 - x0) / bins.allowed_width(x0, tolerance)
        # A wide cell without a region pixel makes no AU-sPRO uncertain.
        used = np.zeros(cells.count, bool)
        for bins_of_region in of_subset.pixel_bins:
            used[bins_of_region] = True
        excess = np.maximum(excess, np.where(of_subset.ambiguous & used, wide, 0))
    needed = np.zeros(bins.BLOCKS)
    np.maximum.at(needed, cells.blocks(), excess)
    # Twice what is needed, for scores are not evenly spread: few maps are read thrice.
    factor = np.where(needed > 1, np.clip(2 * np.ceil(needed), 2, MOST_FINER), 1)
    finer = bins.Cells.of(cells.parts * factor)
    if finer.count == cells.count or finer.count > bins.MOST_CELLS:
        return None
    return finer
