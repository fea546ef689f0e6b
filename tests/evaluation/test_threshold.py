"""The threshold of a false positive rate, and the p-values that say the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcad_jax.core.errors import UserError
from gcad_jax.evaluation.threshold import (
    achievable_fpr,
    min_validation_images,
    p_values,
    p_values_jnp,
    threshold,
)

scores = st.lists(st.integers(0, 8).map(float), min_size=1, max_size=30)
rates = st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5, 0.9])


def test_by_hand():
    nineteen = [float(i) for i in range(19)]
    # (19 + 1)(1 - 0.05) = 19: the largest; (1 - 0.1): the 18th.
    assert threshold(nineteen, 0.05) == 18
    assert threshold(nineteen, 0.1) == 17
    assert threshold(nineteen[::-1], 0.1) == 17
    # Too few for this rate: the largest, which promises one in twenty.
    assert threshold(nineteen, 0.01) == 18
    assert achievable_fpr(19, 0.01) == 0.05
    assert achievable_fpr(19, 0.1) == 0.1


@given(scores, rates, st.integers(-1, 9))
def test_a_score_is_above_the_threshold_exactly_where_its_p_value_is_small(
    validation, rate, score
):
    [p] = p_values(np.array([float(score)]), validation)
    assert p == (1 + sum(v >= score for v in validation)) / (len(validation) + 1)
    if achievable_fpr(len(validation), rate) == rate:
        assert (score > threshold(validation, rate)) == (p <= rate + 1e-12)


@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize("count", [4, 19, 60])
def test_new_good_images_exceed_it_no_more_often_than_promised(rate, count):
    draws = np.random.default_rng(count).exponential(size=(20_000, count + 1))
    limits = np.array([threshold(row[1:], rate) for row in draws])
    exceeded = (draws[:, 0] > limits).mean()
    # Of a continuous distribution the share is known: V + 1 - k places of V + 1.
    expected = np.floor((count + 1) * rate + 1e-9) / (count + 1) or 1 / (count + 1)
    assert exceeded == pytest.approx(expected, abs=0.01)
    assert exceeded <= achievable_fpr(count, rate) + 0.005


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.05, 0.07, 0.1, 0.4, 0.5])
def test_how_many_images_a_rate_needs(rate):
    count = min_validation_images(rate)
    assert achievable_fpr(count, rate) == rate
    assert achievable_fpr(count - 1, rate) > rate


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_other_rates_are_refused(rate):
    with pytest.raises(UserError, match="between 0 and 1"):
        threshold([1.0], rate)


def test_without_validation_images_there_is_no_threshold():
    with pytest.raises(UserError, match="validation_fraction"):
        threshold([], 0.05)


def test_p_values_of_exported_programs_are_the_same():
    validation = np.random.default_rng(0).random(19).astype(np.float32).tolist()
    # Below all, equal to some, above all.
    scores = np.array([-1, validation[3], validation[7], 0.5, 2], np.float32)
    got = p_values_jnp(scores, validation)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, p_values(scores, validation), rtol=1e-7)
