import itertools

import numpy as np
import pytest

from gcad_jax.core.errors import UserError
from gcad_jax.data.input.sampling import (
    batches,
    epoch_order,
    seamless_batches,
    steps_per_epoch,
)


def test_an_epoch_is_a_permutation_of_its_own():
    orders = {}
    for seed, epoch in itertools.product(range(4), range(4)):
        order = epoch_order(seed, epoch, 50)
        assert order.dtype == np.int32
        assert sorted(order) == list(range(50))
        orders[tuple(order)] = (seed, epoch)
    assert len(orders) == 16  # all differ, (0, 0) and (0, 1) and (1, 0) too
    np.testing.assert_array_equal(epoch_order(3, 2, 50), epoch_order(3, 2, 50))


def test_every_image_is_equally_likely_in_every_place():
    places = np.stack([epoch_order(0, epoch, 5) for epoch in range(1000)])
    for column in places.T:
        counts = np.bincount(column, minlength=5)
        assert counts.min() > 140  # 200 expected; 4.7 standard deviations
        assert counts.max() < 260


def test_batches_of_an_epoch_are_disjoint_and_drop_the_remainder():
    assert steps_per_epoch(10, 3) == 3
    epoch = [next(batches(1, step, 3, 10)) for step in range(3)]
    seen = np.concatenate(epoch)
    assert len(set(seen)) == 9
    np.testing.assert_array_equal(seen, epoch_order(1, 0, 10)[:9])
    np.testing.assert_array_equal(next(batches(1, 3, 3, 10)), epoch_order(1, 1, 10)[:3])


def test_another_remainder_is_dropped_in_each_epoch():
    dropped = {epoch_order(0, epoch, 10)[9] for epoch in range(60)}
    assert len(dropped) == 10


@pytest.mark.parametrize("first_step", [0, 1, 2, 3, 7, 301])
def test_the_stream_continues_anywhere(first_step):
    whole = list(itertools.islice(batches(5, 0, 4, 13), first_step + 10))
    resumed = list(itertools.islice(batches(5, first_step, 4, 13), 10))
    np.testing.assert_array_equal(whole[first_step:], resumed)
    assert resumed[0].dtype == np.int32


def test_one_order_an_epoch(monkeypatch):
    from gcad_jax.data.input import sampling

    calls = []
    monkeypatch.setattr(
        sampling,
        "epoch_order",
        lambda *args: calls.append(args) or epoch_order(*args),
    )
    list(itertools.islice(batches(0, 0, 2, 20), 30))
    assert calls == [(0, 0, 20), (0, 1, 20), (0, 2, 20)]


@pytest.mark.parametrize("batch_size", [0, -2])
def test_batch_size_must_be_positive(batch_size):
    with pytest.raises(UserError, match=f"batch_size is {batch_size}"):
        steps_per_epoch(10, batch_size)


def test_batch_size_above_the_number_of_images():
    with pytest.raises(UserError, match="batch_size is 11, but there are only 10"):
        steps_per_epoch(10, 11)


@pytest.mark.parametrize(("batch", "count"), [(4, 10), (10, 4), (7, 7)])
def test_an_endless_stream_drops_nothing_and_can_start_anywhere(batch, count):
    stream = seamless_batches(3, 0, batch, count)
    steps = [next(stream) for _ in range(2 * count)]
    assert all(rows.shape == (batch,) and rows.dtype == np.int32 for rows in steps)
    whole = np.concatenate(steps).reshape(-1, count)
    for epoch, rows in enumerate(whole):
        np.testing.assert_array_equal(rows, epoch_order(3, epoch, count))
    for first in (1, 5):
        later = seamless_batches(3, first, batch, count)
        np.testing.assert_array_equal(next(later), steps[first])
        np.testing.assert_array_equal(next(later), steps[first + 1])
