"""The best and the worst test images of each kind: what to look at first."""

from collections.abc import Sequence

import numpy as np

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation.results import Scores
from gcad_jax.reporting.tables import LIMIT, short

COUNT = 2  # images of each kind
HOW = (
    "images of each kind by the image score that decides (the maximum of the map A, "
    "unless the method has another): anomalous ones with the {anomalous} scores, good "
    "ones with the {good}; rank 1 is the image that looks most anomalous among all "
    f"test images, AU-sPRO is that of the image's own regions up to {LIMIT}"
)
WORST = HOW.format(anomalous="lowest", good="highest")
BEST = HOW.format(anomalous="highest", good="lowest")


def select_extremes(
    kinds: Sequence[str], scores: Sequence[float], count: int = COUNT
) -> tuple[list[int], list[int]]:
    """The `count` worst and best images of each kind, fewer where there are fewer.

    kinds, scores: of each test image; a larger score is more anomalous.

    Returns indices of the worst, which would be mistaken first, and of the best, which
    are told apart most clearly; none is in both. Structural ones come first, then
    logical and good ones, each from the most extreme.
    """
    worst, best = list[int](), list[int]()
    for kind in (STRUCTURAL, LOGICAL, GOOD):
        indices = [i for i, image_kind in enumerate(kinds) if image_kind == kind]
        # Equal ones in their order; from the worst to the best.
        indices.sort(key=lambda i: -scores[i] if kinds[i] == GOOD else scores[i])
        half = (len(indices) + 1) // 2
        worst += indices[:half][:count]
        best += indices[half:][::-1][:count]
    return worst, best


def describe_example(kind: str, scores: Scores, i: int) -> tuple[str, ...]:
    """What a figure says of test image i: kind, score, rank, and its AU-sPRO."""
    score = scores.decision_scores[i]
    above = int(np.sum(np.asarray(scores.decision_scores) > score))
    rank = f"rank {above + 1} of {len(scores.decision_scores)}"
    areas = scores.image_auspro[i] if scores.image_auspro else None
    area = areas[LIMIT] if areas else None
    lines = short(kind), f"score {score:.3g}", rank
    return lines if area is None else (*lines, f"AU-sPRO {area:.2f}")
