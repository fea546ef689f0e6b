"""Timing of phases: every phase, the layout that was asked for, plausible numbers."""

import itertools
import time

import pytest
from helpers.doubles import Linear, category, options

from gcad_jax.core.errors import UserError
from gcad_jax.training.cost import timing
from gcad_jax.training.cost.timing import TimedTrainer
from gcad_jax.training.input_pipeline import InMemory
from gcad_jax.training.logs import MetricsLog


def start(method, seeds=(0,), **layout):
    """A trainer, with states and resources on the devices."""
    pipeline = InMemory(method, category(), seeds)
    trainer = TimedTrainer(method, pipeline, seeds, options(**layout))
    return trainer, *trainer.start(method.prepare(category().train))


def timed(method, seeds=(0,), calls=2, **layout):
    trainer, states, resources = start(method, seeds, **layout)
    timings = []
    for position in range(len(trainer.phases)):
        timing, states = trainer.time_phase(position, states, resources, calls)
        timings.append(timing)
    return timings


def test_each_phase_is_timed_with_its_number_of_steps():
    fast, both = timed(Linear(), calls=1)
    assert (fast.name, fast.num_steps) == ("fast", 2 * 4)
    assert (both.name, both.num_steps) == ("both", 3 * 4)
    for one in (fast, both):
        assert min(one.compile_seconds, one.step_seconds, one.first_seconds) > 0
        assert one.flops is None or one.flops > 0
        assert one.held_bytes > 0
    assert both.images_per_second == pytest.approx(4 / both.step_seconds)


def test_seconds_are_those_of_an_update_of_all_seeds(monkeypatch):
    ticks = itertools.count()  # a clock that is one second on whenever it is read
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(ticks)))
    (first, _) = timed(Linear(), (0, 1), calls=2, map_seeds="vmap", steps_per_call=3)
    assert (first.num_seeds, first.batch_size) == (2, 4)
    assert (first.compile_seconds, first.first_seconds) == (1, 1)
    assert first.step_seconds == pytest.approx(1 / 2 / 3)  # two calls in a second
    assert first.images_per_second == pytest.approx(2 * 4 * 2 * 3)


def test_several_devices_and_rounds():
    method = Linear()
    found = timed(method, calls=2, num_devices=2)
    assert [one.num_steps for one in found] == [8, 12]
    trainer, states, resources = start(method)
    one, after = trainer.time_phase(0, states, resources, 2, rounds=3)
    assert int(after.step[0]) == 1 + 2 * 3
    assert one.step_seconds > 0


def test_more_updates_a_call_than_a_phase_has():
    method = Linear(epochs=3)
    assert len(timed(method, calls=1, steps_per_call=1000)) == 2


def test_devices_that_cannot_share_the_batch():
    with pytest.raises(UserError, match="batch_size is 3"):
        timed(Linear(batch_size=3), num_devices=2)


def loop_timed(monkeypatch, slow=""):
    """Of `Linear` with a row of the log in each update; `slow` takes 20 ms a call."""
    trainer, states, resources = start(Linear(), log_every=1)
    with monkeypatch.context() as patched:
        if slow:
            kind = MetricsLog if slow == "write" else InMemory
            quick = getattr(kind, slow)

            def slowed(*arguments):
                time.sleep(0.02)
                return quick(*arguments)

            patched.setattr(kind, slow, slowed)
        return trainer.time_loop(0, states, resources, updates=8, rounds=3)


@pytest.mark.parametrize("slow", ["write", "take"])
def test_what_the_loop_adds_to_its_calls_shows(monkeypatch, slow):
    added = loop_timed(monkeypatch, slow)
    assert added.step_seconds > 0.02
    assert added.call_seconds < 0.02
    assert added.overhead == added.step_seconds / added.call_seconds - 1
