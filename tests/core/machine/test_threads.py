"""Bytes that threads hold together."""

import threading
import time

import pytest

from gcad_jax.core.machine import threads
from gcad_jax.core.machine.threads import ByteBudget, map_in_order, thread_pool


class Counted:
    """Bytes that are held now and at most; each thread adds its own."""

    def __init__(self):
        self.now = self.most = 0
        self.lock = threading.Lock()

    def add(self, count):
        with self.lock:
            self.now += count
            self.most = max(self.most, self.now)


@pytest.mark.parametrize("num_threads", [1, 2, 64])
def test_any_number_of_threads_holds_no_more_than_the_budget(num_threads):
    budget, counted = ByteBudget(100), Counted()

    def hold(count):
        with budget.hold(count):
            counted.add(count)
            time.sleep(0.001)
            counted.add(-count)

    with thread_pool(num_threads) as pool:
        list(pool.map(hold, [30, 60, 100, 1, 40] * 20))
    assert counted.most <= 100
    assert budget.held == counted.now == 0


def test_what_is_larger_than_the_budget_is_held_alone():
    budget = ByteBudget(100)
    held = []

    def hold(count):
        with budget.hold(count):
            held.append(budget.held)

    with thread_pool(8) as pool:
        list(pool.map(hold, [1000, 10, 2000, 10, 1000]))
    assert all(count in (1000, 2000) or count <= 100 for count in held)


def test_bytes_are_given_back_after_an_error():
    budget = ByteBudget(10)
    with pytest.raises(ValueError, match="damaged"), budget.hold(8):
        raise ValueError("damaged")
    assert budget.held == 0


def test_results_that_wait_stop_the_reading_ahead(monkeypatch):
    monkeypatch.setattr(threads, "FULL_SIZE", ByteBudget(100))
    begun = []

    def read(number):
        begun.append(number)
        return number

    with thread_pool(1) as pool:
        results = map_in_order(pool, read, range(60), 50, lambda result: 40)
        for taken in range(60):
            assert next(results) == taken
            time.sleep(0.002)
            # Two of 40 bytes wait; at the first item none is known yet.
            assert len(begun) <= taken + 1 + max(2, threads.NUM_THREADS + 1)
        assert list(map_in_order(pool, read, range(60), 50)) == list(range(60))
