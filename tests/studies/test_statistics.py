"""Spread and agreement against counts by hand."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from gcad_jax.studies import statistics


def brute_force_tau(first, second):
    """Kendall's tau-b from its definition, over all pairs."""
    agree = one = other = 0
    for i, j in itertools.combinations(range(len(first)), 2):
        a = int(first[i] > first[j]) - int(first[i] < first[j])
        b = int(second[i] > second[j]) - int(second[i] < second[j])
        agree += a * b
        one += a != 0
        other += b != 0
    return agree / math.sqrt(one * other) if one * other else math.nan


@pytest.mark.parametrize("levels", [3, 1000])
def test_kendall(levels):
    values = np.random.default_rng(0).integers(0, levels, (6, 41)).astype(float)
    signs = statistics.order_signs(values)
    expected = [brute_force_tau(values[:, 0], draw) for draw in values.T[1:]]
    np.testing.assert_allclose(statistics.kendall_tau(signs), expected, atol=1e-12)
    pairs = list(itertools.combinations("uvwxyz", 2))
    assert pairs[:2] == [("u", "v"), ("u", "w")]
    for (a, b), share in zip(pairs, statistics.change_shares(signs), strict=True):
        one, other = values["uvwxyz".index(a)], values["uvwxyz".index(b)]
        order = [int(x > y) - int(x < y) for x, y in zip(one, other, strict=True)]
        assert share == np.mean([o != order[0] for o in order[1:]])


def test_kendall_by_hand():
    # Original a > b > c; then the same, b and c swapped, all turned round, all equal.
    values = np.array([[3, 3, 3, 1, 1], [2, 2, 1, 2, 1], [1, 1, 2, 3, 1.0]])
    tau = statistics.kendall_tau(statistics.order_signs(values))
    np.testing.assert_allclose(tau, [1, 1 / 3, -1, np.nan])


def test_changes_by_hand():
    # The draws above: b and c swap in the first but one, all pairs turn, all are equal.
    values = np.array([[3, 3, 3, 1, 1], [2, 2, 1, 2, 1], [1, 1, 2, 3, 1.0]])
    shares = statistics.change_shares(statistics.order_signs(values))
    # Of a and b, a and c, b and c:
    assert shares.tolist() == [2 / 4, 2 / 4, 3 / 4]


def test_rounding_is_no_order():
    values = np.array([[0.3, 0.3], [0.1 + 0.2, 0.3 - 1e-15], [0.3 + 1e-8, 0.2]])
    assert statistics.order_signs(values).tolist() == [[0, 0], [-1, 1], [-1, 1]]


def test_kendall_of_equal_or_single_methods():
    assert statistics.kendall_tau(statistics.order_signs(np.ones((3, 5)))) is None
    assert statistics.kendall_tau(statistics.order_signs(np.ones((1, 5)))) is None


def test_spread():
    found = statistics.spread(np.array([0.9, *np.arange(101) / 100]))
    assert found.pop("std") == pytest.approx(math.sqrt(101 * 102 / 12) / 100)
    expected = {"original": 0.9, "mean": 0.5, "min": 0.0, "max": 1.0}
    quantiles = {str(q): q for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
    assert found == pytest.approx(expected | quantiles)
    assert statistics.spread(np.array([0.5, 0.25]))["std"] is None
    assert set(statistics.spread(np.full(4, np.nan)).values()) == {None}


def exact_seeds(effect):
    """The smallest number whose two-sided t-test has the power, by noncentral t."""
    for n in itertools.count(2):
        limit = scipy.stats.t.isf(statistics.LEVEL / 2, 2 * n - 2)
        shifted = scipy.stats.nct(2 * n - 2, effect * math.sqrt(n / 2))
        if shifted.sf(limit) + shifted.cdf(-limit) >= statistics.POWER:
            return n


@pytest.mark.parametrize("effect", [0.2, 0.35, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0])
def test_seeds_for_a_difference_are_those_of_the_exact_t_test_or_one_less(effect):
    found = statistics.seeds_for_difference(0.04, 0.04 * effect)
    assert 0 <= exact_seeds(effect) - found <= 1


def test_seeds_for_a_difference_by_the_published_tables():
    # Cohen, Statistical Power Analysis (1988), Table 2.4.1: level 0.05, power 0.8.
    for effect, n in ((0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17)):
        assert statistics.seeds_for_difference(1.0, effect) == n
    assert statistics.seeds_for_difference(0.0, 0.02) == 2
