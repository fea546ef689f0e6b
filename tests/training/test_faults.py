"""Thirty ends at random moments: the training ends as if there had been none."""

import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import pytest
from helpers import doubles, runs

from gcad_jax.training import loop
from gcad_jax.training.checkpoint import newest_step
from gcad_jax.training.options import RunContext
from gcad_jax.training.preemption import Preempted

EPOCHS, SEEDS = 400, (0, 7)
STEPS = EPOCHS * (18 // 4)
ENDS = 30
STOPPED = 143


def train(folder, say, **options):
    return loop.train(
        doubles.Linear(epochs=EPOCHS),
        doubles.category(),
        RunContext(SEEDS, folder, doubles.options(**options), {"a": "config"}, say),
    )


def child(folder):
    """Saves after every update, as often as the one before is on disk."""
    try:
        train(folder, print, checkpoint_minutes=0.0)
    except Preempted:
        sys.exit(STOPPED)


@pytest.fixture
def processes():
    """Processes that have the imports behind them, but no JAX that has begun."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.doubles", "orbax.checkpoint"])
    return context


def ended(processes, folder, number, after):
    """A training of `folder` that gets a signal, seconds after its first save."""
    before = newest_step(folder / "checkpoints")
    process = processes.Process(target=child, args=(folder,))
    process.start()
    try:
        deadline = time.monotonic() + 120
        while newest_step(folder / "checkpoints") == before and process.is_alive():
            assert time.monotonic() < deadline, "it saves nothing"
            time.sleep(0.002)
        time.sleep(after)
        os.kill(process.pid, number)
        process.join(60)
        return process.exitcode
    finally:
        process.kill()
        process.join()


@pytest.mark.long
def test_thirty_ends_at_random_moments_change_nothing(tmp_path, processes):
    whole, folder = tmp_path / "whole", tmp_path / "ended"
    whole.mkdir()
    folder.mkdir()
    expected = train(whole, print)
    seed = int(np.random.default_rng().integers(2**32))  # other moments each time
    print("seed", seed)
    random = np.random.default_rng(seed)
    torn, reached = 0, [0]
    while len(reached) <= ENDS or not torn:  # one end at least falls into a save
        kill = random.random() < 2 / 3
        number = signal.SIGKILL if kill else signal.SIGTERM
        code = ended(processes, folder, number, random.uniform(0, 0.2))
        assert code == (-signal.SIGKILL if kill else STOPPED)
        torn += kill and bool(runs.leftovers(folder))
        reached.append(newest_step(folder / "checkpoints"))
        assert reached[-1] > reached[-2]
        assert reached[-1] < STEPS, "the training is too short for this machine"
    lines: list[str] = []
    found = train(folder, lines.append)
    assert any(f"from step {reached[-1]}" in line for line in lines)
    doubles.assert_equal(found.learned, expected.learned)
    rows = [(each / "metrics.jsonl").read_bytes() for each in (folder, whole)]
    assert rows[0] == rows[1]
    assert runs.leftovers(folder) == []
