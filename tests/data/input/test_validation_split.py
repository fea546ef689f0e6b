import numpy as np
import pytest

from gcad_jax.core.errors import UserError
from gcad_jax.data.input.sampling import split_validation


@pytest.mark.parametrize(
    ("num", "fraction", "held_out"),
    # 10 % rounded to the nearest, halves up; at least one on each side.
    [(50, 0.1, 5), (25, 0.1, 3), (24, 0.1, 2), (2, 0.1, 1), (2, 0.9, 1), (3, 0.99, 2)],
)
def test_counts(num, fraction, held_out):
    train, validation = split_validation(num, fraction, seed=0)
    assert len(validation) == held_out
    assert sorted([*train, *validation]) == list(range(num))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


def test_the_seed_decides():
    first, again, other = (split_validation(200, 0.1, seed)[1] for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_held_out_images_are_spread():
    hits = np.zeros(20)
    for seed in range(500):
        hits[split_validation(20, 0.1, seed)[1]] += 1
    assert hits.min() > 20  # 50 expected each; 20 is 4.5 standard deviations below
    assert hits.max() < 80


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_fraction_outside(fraction):
    with pytest.raises(UserError, match="validation_fraction is"):
        split_validation(10, fraction, 0)


@pytest.mark.parametrize("num", [0, 1])
def test_too_few(num):
    with pytest.raises(UserError, match="at least 2"):
        split_validation(num, 0.5, 0)


def test_negative_seed():
    with pytest.raises(UserError, match="split_seed is -1"):
        split_validation(10, 0.5, -1)
