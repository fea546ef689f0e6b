"""The best and the worst images are those that a reader should look at first."""

import pytest
from helpers import made_results

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.reporting import example_selection

S, L, G = STRUCTURAL, LOGICAL, GOOD
#         0    1    2    3    4    5    6    7    8    9
KINDS = [G, G, G, G, S, S, S, S, L, L]
SCORES = [0.1, 0.9, 0.2, 0.7, 0.3, 5.0, 0.2, 4.0, 2.0, 1.0]


def test_mistakes_are_the_worst_and_clear_cases_the_best():
    worst, best = example_selection.select_extremes(KINDS, SCORES, 2)
    # Structural by ascending score: 6, 4, 7, 5; logical: 9, 8. Good ones turn around.
    assert worst == [6, 4, 9, 1, 3]
    assert best == [5, 7, 8, 0, 2]


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_no_image_is_both(count):
    worst, best = example_selection.select_extremes(KINDS, SCORES, count)
    assert not set(worst) & set(best)
    assert len(worst) + len(best) <= len(KINDS)


def test_what_is_said_is_said_of_the_score_that_decides():
    of_map = made_results.scores(0.5, 0.5, image_scores=(0.0, 1.0, 2.0))
    decided = made_results.with_method_scores(of_map, 0.9, 0.9, (7.0, 5.0, 3.0))
    assert example_selection.describe_example(G, decided, 0)[1:] == (
        "score 7",
        "rank 1 of 3",
    )
    assert example_selection.describe_example(G, of_map, 0)[2] == "rank 3 of 3"


def test_few_images_and_equal_scores():
    assert example_selection.select_extremes([], [], 2) == ([], [])
    assert example_selection.select_extremes([L], [1.0], 2) == ([0], [])
    equal = example_selection.select_extremes([L, L, L], [1.0, 1.0, 1.0], 1)
    assert equal[0] == [0]


def test_what_is_said_of_an_image():
    scores = made_results.scores(0.5, 0.5, image_scores=(0.5, 2.0, 2.0, 0.01234))
    object.__setattr__(
        scores, "image_auspro", (None, {"0.05": 0.254}, {"0.05": None}, None)
    )
    assert example_selection.describe_example(S, scores, 1) == (
        *("structural", "score 2", "rank 1 of 4", "AU-sPRO 0.25"),
    )
    assert example_selection.describe_example(L, scores, 2) == (
        "logical",
        "score 2",
        "rank 1 of 4",
    )
    assert example_selection.describe_example(G, scores, 0) == (
        "good",
        "score 0.5",
        "rank 3 of 4",
    )
    assert example_selection.describe_example(G, scores, 3)[1:] == (
        "score 0.0123",
        "rank 4 of 4",
    )
