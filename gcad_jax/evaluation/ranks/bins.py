"""Cells: intervals of scores, narrow in false positive rate where a limit needs it.

A float32 score has a 32-bit key that ascends with it. The upper 16 bits of the key
choose a block, and each block is cut into any number of cells of equal length, up to
one for each score. So the cell of a score is two look-ups, a product and a shift. As it
ascends with the score whatever the numbers are, what is counted by cells encloses the
truth. A sample of the negatives only decides how many cells a block gets.
"""

import dataclasses

import numpy as np

from gcad_jax.core.machine.threads import Scratch
from gcad_jax.evaluation.spro import LIMITS

BLOCKS = 2**16
LENGTH = 2**16  # scores of a block
MOST_CELLS = 2**23
_PIECE = 2**16  # pixels whose intermediate values stay in the cache


@dataclasses.dataclass(frozen=True)
class Cells:
    """parts: (BLOCKS,) uint32 cells of each block, 1 .. LENGTH.
    first: (BLOCKS,) uint32 number of the first cell of each block.
    """

    parts: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, parts: np.ndarray) -> "Cells":
        """Cells by their number in each block, cut to what a block can hold."""
        parts = np.clip(parts, 1, LENGTH).astype(np.uint32)
        return cls(parts, (np.cumsum(parts, dtype=np.int64) - parts).astype(np.uint32))

    @property
    def count(self) -> int:
        """Number of all cells, T."""
        return int(self.parts.sum(dtype=np.int64))

    def place(
        self, scores: np.ndarray, space: Scratch | None = None
    ) -> np.ndarray:  # (P,) float32 -> (P,) intp
        """The cell of each score, ascending with it.

        space: holds the result, until the same thread asks for the next.
        """
        space = space or Scratch()
        cells = space.array("cells", scores.size, np.intp)
        for start in range(0, scores.size, _PIECE):
            piece = scores[start : start + _PIECE]
            size = piece.size
            key = space.array("key", size, np.uint32)
            spare = space.array("spare", size, np.uint32)
            block = space.array("block", size, np.intp)
            sort_keys(piece, key, spare)
            np.right_shift(key, 16, out=spare)
            np.copyto(block, spare)
            key &= LENGTH - 1
            # Every block is in the tables; "wrap" says so to NumPy, which else copies.
            key *= np.take(self.parts, block, out=spare, mode="wrap")
            key >>= 16
            key += np.take(self.first, block, out=spare, mode="wrap")
            np.copyto(cells[start : start + size], key)
        return cells

    def blocks(self) -> np.ndarray:  # (T,) int
        """The block of each cell."""
        return np.repeat(np.arange(BLOCKS), self.parts)

    def single(self) -> np.ndarray:  # (T,) bool
        """Which cells hold one score."""
        return np.repeat(self.parts == LENGTH, self.parts)

    def highest(self) -> np.ndarray:  # (T,) float32
        """The highest finite score of each cell; the lowest where it has none."""
        block = self.blocks()
        parts = self.parts[block].astype(np.int64)
        number = np.arange(block.size) - self.first[block] + 1
        ends = -(-(number * LENGTH) // parts)  # first key of the next cell
        key = block * LENGTH + ends - 1
        key -= key == 2**31 - 1  # of -0.0, which counts as 0.0
        key = key.astype(np.uint32)
        # The inverse of `sort_keys`.
        bits = np.where(key >= 2**31, key ^ np.uint32(2**31), ~key)
        highest = bits.view(np.float32)
        # The first and the last keys are those of NaN and infinity.
        largest = np.finfo(np.float32).max
        below = (block < BLOCKS // 2) & ~np.isfinite(highest)
        above = (block >= BLOCKS // 2) & ~np.isfinite(highest)
        highest[below], highest[above] = -largest, largest
        return highest


def sort_keys(
    scores: np.ndarray, key: np.ndarray | None = None, spare: np.ndarray | None = None
) -> np.ndarray:  # (P,) float32 -> (P,) uint32
    """Bits of each score, changed so that they ascend with it; -0.0 is 0.0.

    key, spare: (P,) uint32 for the result, and for intermediate values.
    """
    key = np.empty(scores.shape, np.uint32) if key is None else key
    spare = np.empty(scores.shape, np.uint32) if spare is None else spare
    bits, flip = key.view(np.int32), spare.view(np.int32)
    np.add(scores, np.float32(0), out=key.view(np.float32))
    # Negative numbers descend: flip them whole, others in the sign.
    np.right_shift(bits, 31, out=flip)
    flip |= np.int32(-(2**31))
    bits ^= flip
    return key


def allowed_width(rates: np.ndarray, tolerance: float) -> np.ndarray:
    """How wide in false positive rate a cell may be that begins at each rate.

    The area up to a limit L is uncertain by the mean width of the cells of the pixels
    below L, over L, and half of that is the bound. So below L a width of 2 L tolerance
    may be left; the smallest limit that is not below the rate rules.
    """
    limits = np.asarray(LIMITS)
    above = np.minimum(np.searchsorted(limits, rates, side="left"), len(limits) - 1)
    return 2 * tolerance * limits[above]


def cells_for_sample(sample: np.ndarray, tolerance: float) -> np.ndarray:  # (BLOCKS,)
    """Cells that each block needs. sample: some of the negatives, float32."""
    counts = np.bincount(sort_keys(sample) >> 16, minlength=BLOCKS)
    rates = np.cumsum(counts[::-1])[::-1] / max(sample.size, 1)  # at the lower end
    limits = np.concatenate([[0.0], LIMITS])
    steps = np.diff(limits) / (2 * tolerance * limits[1:])
    widths = np.interp(rates, limits, np.concatenate([[0.0], np.cumsum(steps)]))
    # Densities vary inside a block, so half as many again.
    return np.ceil(1.5 * -np.diff(widths, append=0.0))
