"""Cells that hold one distinct score, so that counting by them is exact."""

import threading

import numpy as np

from gcad_jax.core.machine.threads import Scratch
from gcad_jax.evaluation.ranks.bins import LENGTH, Cells, sort_keys

SAMPLE = 2**16
COMMON = 16  # times in the sample that a score occurs which is kept apart
MOST_APART = 6  # blocks cut for such scores, each into as many cells as it has scores
MANY = 1 / 64  # share of other tied scores in the sample: quantized, of eight bits, say


def isolate_common_scores(
    parts: np.ndarray, sample: np.ndarray
) -> tuple[np.ndarray, bool]:  # (BLOCKS,) cells of each block
    """Cells of their own for the few scores that are common, zeros of a ReLU, say.

    And whether many more scores are tied, in cells that can hold several.
    """
    values, times = np.unique(
        sample[:: max(1, sample.size // SAMPLE)], return_counts=True
    )
    block = sort_keys(values) >> 16
    common = np.unique(block[(times >= COMMON) & (parts[block] < LENGTH)])
    # A block of LENGTH cells has one for each float32, so each score stands alone.
    if common.size <= MOST_APART:
        parts = parts.copy()
        parts[common] = LENGTH
    tied = (times - 1)[parts[block] < LENGTH].sum()
    return parts, bool(tied > MANY * times.sum())


class AmbiguityTracker:
    """Cells that hold several distinct scores, or might; threads may share it."""

    def __init__(self, cells: Cells, quantized: bool) -> None:
        """quantized: compare the scores of each cell. Else a cell that can hold but one
        float32 holds one score, and any other cell several.
        """
        self._quantized = quantized
        self._ambiguous = ~cells.single()
        self._of_thread = threading.local()
        self._all_scores: list[_CellScores] = []

    def update(
        self,
        places: np.ndarray,
        scores: np.ndarray,
        single: np.ndarray,
        space: Scratch,
    ) -> None:
        """places, scores: (P,) of a map; single: the scores as float32."""
        if self._quantized:
            # Each thread writes into arrays of its own: no lock for each map.
            if not hasattr(self._of_thread, "scores"):
                self._of_thread.scores = _CellScores(self._ambiguous.size)
                self._all_scores.append(self._of_thread.scores)
            self._of_thread.scores.compare(places, scores, space)
        elif scores.dtype == np.float64:
            # A score that float32 rounds shares its cell with what it rounds to.
            self._ambiguous[places[scores != single]] = True

    def ambiguous(self) -> np.ndarray:  # (T,) bool
        """After all maps: which cells may hold several distinct scores."""
        if not self._quantized:
            return self._ambiguous
        merged = _CellScores(self._ambiguous.size)
        for of_thread in self._all_scores:
            cells = np.flatnonzero(~np.isnan(of_thread.scores))
            merged.compare(cells, of_thread.scores[cells], Scratch())
            merged.several |= of_thread.several
        return merged.several


class _CellScores:
    """One score of each cell, NaN where none was met, and whether another was."""

    def __init__(self, count: int) -> None:
        self.scores = np.full(count, np.nan, np.float32)
        self.several = np.zeros(count, bool)

    def compare(self, places: np.ndarray, scores: np.ndarray, space: Scratch) -> None:
        self.scores = self.scores.astype(
            np.result_type(self.scores, scores), copy=False
        )
        known = space.array("known", places.size, self.scores.dtype)
        # Every place is in range; "wrap" says so to NumPy, which else copies.
        np.take(self.scores, places, out=known, mode="wrap")
        # NaN differs from every score, so that cells met first are among these.
        other = np.flatnonzero(known != scores)
        cells = places[other]
        first = np.isnan(known[other])
        self.scores[cells[first]] = scores[other[first]]
        self.several[cells[self.scores[cells] != scores[other]]] = True
