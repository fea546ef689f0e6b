"""Area under the ROC curve of image scores."""

import numpy as np


def auroc(good: np.ndarray, anomalous: np.ndarray) -> float | None:
    """Probability that an anomalous image scores above a good one, ties one half.

    good, anomalous: (G,) and (A,) image scores. This is the Mann-Whitney statistic
    and equals the area under the ROC curve through all thresholds; None where either
    is empty.
    """
    if good.size == 0 or anomalous.size == 0:
        return None
    ordered = np.sort(good)
    below = np.searchsorted(ordered, anomalous, side="left")
    reached = np.searchsorted(ordered, anomalous, side="right")
    return float((below + reached).sum() / (2 * good.size * anomalous.size))


def auroc_official(good: np.ndarray, anomalous: np.ndarray) -> float | None:
    """The same area under the tie rule of MVTec's evaluation program (version 2.0).

    It walks up the scores, good images before anomalous ones where scores are equal,
    and adds a point to the curve after the first image of every distinct score and
    after the last image. Without ties between good and anomalous images both
    functions agree.
    """
    if good.size == 0 or anomalous.size == 0:
        return None
    scores = np.concatenate([good, anomalous])
    is_good = np.arange(scores.size) < good.size
    order = np.argsort(scores, kind="stable")
    scores, is_good = scores[order], is_good[order]
    false_rate = 1 - np.cumsum(is_good) / good.size
    true_rate = 1 - np.cumsum(~is_good) / anomalous.size
    new = np.concatenate([[True], scores[1:] != scores[:-1]])
    new[-1] = True  # the official curve ends at the last image, tied or not
    x = np.concatenate([[1.0], false_rate[new]])
    y = np.concatenate([[1.0], true_rate[new]])
    return float(np.sum((x[:-1] - x[1:]) * (y[:-1] + y[1:])) / 2)
