"""Where the pixels of regions stand among the negatives.

For a region pixel of score v everything that sPRO needs is the number of negatives with
a score above v, and the number with a score of at least v. Areas, curves, every choice
of saturation and every limit follow from them without the scores.
"""

import dataclasses

import numpy as np

from gcad_jax.evaluation.ground_truth import Subset


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The regions of one subset after the pass.

    Every region pixel has a bin: its score, or the interval (cell) in which its score
    lies. The T bins ascend with the scores.

    subset: which regions.
    negatives: number of negatives of the subset.
    above, reached: (T,) for each bin, negatives with a score above all of the bin,
        and with one of the bin or above; reached >= above.
    ambiguous: (T,) bool, bins of several scores: there the two numbers of a pixel are
        only known to lie between `above` and `reached`.
    highest: (T,) above the scores of the bin, or equal, and below those of the next.
    pixel_bins: for each region the bins of its pixels, (A,) int32 descending.
    """

    subset: Subset
    negatives: int
    above: np.ndarray
    reached: np.ndarray
    ambiguous: np.ndarray
    highest: np.ndarray
    pixel_bins: tuple[np.ndarray, ...]

    def threshold(self, rate: float) -> tuple[float, float] | None:
        """The lowest bin's t such that {score > t} has at most this rate; its rate.

        None where there are no negatives.
        """
        allowed = self.above <= rate * self.negatives
        if not (allowed.any() and self.negatives):
            return None
        first = int(np.argmax(allowed))
        return float(self.highest[first]), float(self.above[first] / self.negatives)
