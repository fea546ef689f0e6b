"""Image AU-ROC against counting pairs, and the official rule by hand."""

import hypothesis
import numpy as np
import pytest
from helpers import spro_oracle as oracle
from hypothesis import strategies as st

from gcad_jax.evaluation.auroc import auroc, auroc_official

SCORES = st.lists(st.integers(0, 5).map(float), max_size=8).map(np.array)


@hypothesis.given(SCORES, SCORES)
def test_counts_pairs(good, anomalous):
    assert auroc(good, anomalous) == pytest.approx(oracle.auroc(good, anomalous))


@hypothesis.given(SCORES, SCORES)
def test_both_rules_agree_without_ties(good, anomalous):
    good, anomalous = np.unique(good), np.unique(anomalous) + 0.5
    assert auroc_official(good, anomalous) == pytest.approx(auroc(good, anomalous))


@pytest.mark.parametrize(
    ("good", "anomalous", "expected"),
    [
        # One tie group: points after the first (good) and the last image, so
        # (1, 1), (1/2, 1), (0, 0): 1/2 * 1 + 1/2 * 1/2.
        ([1.0, 1.0], [1.0, 1.0], 0.75),
        # Group 1 emits after its first good image, group 2 after its only image:
        # (1, 1), (1/2, 1), (0, 0): the same path, though pairs give 7/8.
        ([1.0, 1.0], [1.0, 2.0], 0.75),
        ([0.0], [1.0], 1.0),
        ([1.0], [0.0], 0.0),
    ],
)
def test_official_rule_by_hand(good, anomalous, expected):
    result = auroc_official(np.array(good), np.array(anomalous))
    assert result == pytest.approx(expected)


@pytest.mark.parametrize("area", [auroc, auroc_official])
def test_nothing_to_compare(area):
    assert area(np.array([]), np.array([1.0])) is None
    assert area(np.array([1.0]), np.array([])) is None
