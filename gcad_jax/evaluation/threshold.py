"""From an image score to a decision: what good validation images score is the scale.

An image is anomalous where its score is above the `threshold`.
The rule is split conformal prediction (Vovk et al., Algorithmic Learning in a Random
World, 2005): it needs no shape of the distribution, only that a new good image is drawn
and scored like the validation images. Of GCAD and Student-Teacher the latter is not
quite so: the moments that bring their branches to one scale are those of the same
validation images, so that new ones may score somewhat higher.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array


def threshold(validation: Sequence[float], rate: float) -> float:
    """The score above which an image is called anomalous.

    Of V validation scores the k-th smallest, k = ceil((V + 1)(1 - rate)): of new good
    images at most the share `rate` scores higher, on average over all draws of the
    validation images. Where V is too small for the rate (`achievable_fpr`) it is the
    largest of them.

    validation: image scores of good images that training did not see.
    rate: wanted false positive rate of images, between 0 and 1.

    Raises:
      UserError: a rate outside 0 to 1, or no validation image.
    """
    if not 0 < rate < 1:
        raise UserError(
            f"the false positive rate is {rate}; it lies between 0 and 1, such as 0.05."
        )
    if not len(validation):
        raise UserError(
            "there are no validation images, so that nothing says which scores are "
            "normal; train with some, data.validation_fraction=0.1.",
            "data.validation_fraction",
        )
    ordered = sorted(validation)
    # Rounded, because (V + 1)(1 - rate) may miss a whole number by its last digit.
    k = math.ceil(round((len(ordered) + 1) * (1 - rate), 9))
    return float(ordered[min(k, len(ordered)) - 1])


def achievable_fpr(count: int, rate: float) -> float:
    """The false positive rate that the threshold of `count` images keeps: rate or more.

    The largest of V scores is exceeded by a share of 1 / (V + 1), so that a smaller
    rate needs more images.
    """
    return max(rate, 1 / (count + 1))


def min_validation_images(rate: float) -> int:
    """The least number of validation images that is enough for a rate."""
    return math.ceil(round(1 / rate, 9)) - 1


def p_values(
    scores: np.ndarray, validation: Sequence[float]
) -> np.ndarray:  # (N,) -> (N,)
    """Share of good images that score as high: (1 + #{v >= score}) / (V + 1).

    score > threshold(validation, rate) exactly where p <= rate, if V is large enough
    for the rate.
    """
    ordered = np.sort(np.asarray(validation, np.float64))
    higher = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return (1 + higher) / (len(ordered) + 1)


def p_values_jnp(scores: Array, validation: Sequence[float]) -> Array:  # (N,) float32
    """`p_values` on the device, in exported programs."""
    normal = np.asarray(validation, np.float32)  # as the scores are there
    higher = jnp.sum(normal[None] >= scores[:, None], axis=1)
    return (1 + higher).astype(jnp.float32) / (len(normal) + 1)
