"""A whole training: its end, its logs, its interruptions and its refusals."""

import dataclasses
import os
import signal

import jax
import numpy as np
import pytest
from helpers import doubles

from gcad_jax.core.errors import UserError
from gcad_jax.training import loop
from gcad_jax.training.checkpoint import Checkpoints
from gcad_jax.training.cost import estimate, timing
from gcad_jax.training.input_pipeline import InMemory
from gcad_jax.training.logs import MetricsLog, read_rows
from gcad_jax.training.options import RunContext
from gcad_jax.training.preemption import Preempted

SEEDS = (0, 7)
TOTAL = 20  # 5 epochs of 18 // 4 = 4 steps: 8 in the first phase, 12 in the second


def ignore(line):
    del line


def train(
    folder,
    method=None,
    category=None,
    seeds=SEEDS,
    say=ignore,
    options=None,
):
    folder.mkdir(exist_ok=True)
    return loop.train(
        method or doubles.Linear(),
        category or doubles.category(doubles.IDENTITY),
        RunContext(seeds, folder, options or doubles.options(), {"a": "config"}, say),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupts: (folder, what was learned, method, lines)."""
    folder, method, lines = tmp_path_factory.mktemp("whole"), doubles.Linear(), []
    return folder, train(folder, method, say=lines.append), method, lines


def stop_at(monkeypatch, step, action):
    """`action` runs when the row of `step` is written, in the midst of training."""
    write = MetricsLog.write

    def hooked(self, at, *rest):
        write(self, at, *rest)
        if at == step:
            action()

    monkeypatch.setattr(MetricsLog, "write", hooked)


def metrics(folder):
    return (folder / "metrics.jsonl").read_bytes()


def crash():
    raise OSError("as if the machine had gone")


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_rows_are_one_per_log_every_and_seed(whole):
    rows = read_rows(whole[0] / "metrics.jsonl")
    steps = [1, 4, 8, 12, 16, 20]
    assert [(row["step"], row["seed"]) for row in rows] == [
        (step, seed) for step in steps for seed in SEEDS
    ]
    assert [row["epoch"] for row in rows[::2]] == [step / 4 for step in steps]
    assert [row["phase"] for row in rows[::2]] == ["fast"] * 3 + ["both"] * 3
    assert {"L_fast"} == set(rows[0]) - {"step", "epoch", "phase", "seed"}
    assert {"L_fast", "L_slow"} <= set(rows[-1])
    assert rows[-1]["L_slow"] < rows[6]["L_slow"]


def test_each_phase_is_traced_once(whole):
    """Unrolled, Python runs the update once a seed; 20 steps add none."""
    assert whole[2].traces == ["fast"] * 2 + ["both"] * 2


def test_the_summary_comes_before_training(whole):
    text = "\n".join(whole[3])
    assert "train 18, validation 3" in text
    assert "fast: 8 steps" in text
    assert "both: 12 steps" in text
    assert "trained     288 parameters a seed" in text  # 2 x 48 x 3


def test_one_learned_part_for_each_seed(whole):
    first, second = whole[1].learned
    assert first.params["fast"]["kernel"].shape == (48, 3)
    assert np.any(first.params["fast"]["kernel"] != second.params["fast"]["kernel"])


def test_a_finished_training_is_only_restored(whole):
    method, before = doubles.Linear(), metrics(whole[0])
    again = train(whole[0], method)
    assert method.traces == []
    doubles.assert_equal(again.learned, whole[1].learned)
    assert metrics(whole[0]) == before


@pytest.mark.parametrize("step", [4, 12])
def test_a_run_stopped_by_sigterm_ends_as_if_it_had_not_been(
    whole, tmp_path, monkeypatch, step
):
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        stop_at(patch, step, terminate)
        with pytest.raises(Preempted, match="saved at step"):
            train(tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before
    said = []
    resumed = train(tmp_path, say=said.append)
    assert any("resume      from step" in line for line in said)
    doubles.assert_equal(resumed.learned, whole[1].learned)
    assert metrics(tmp_path) == metrics(whole[0])


def test_a_run_that_dies_goes_on_from_its_last_checkpoint(whole, tmp_path, monkeypatch):
    """It saves after every step here, and dies with rows after its last save."""
    saving = doubles.options(checkpoint_minutes=0.0)
    with monkeypatch.context() as patch:
        stop_at(patch, 12, crash)
        with pytest.raises(OSError, match="machine"):
            train(tmp_path, options=saving)
    resumed = train(tmp_path)
    doubles.assert_equal(resumed.learned, whole[1].learned)
    assert metrics(tmp_path) == metrics(whole[0])


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(
    whole, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_at(patch, 12, terminate)
        with pytest.raises(Preempted):
            train(tmp_path, options=doubles.options(checkpoint_minutes=0.0))
    folders = [p for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    newest = max(folders, key=lambda path: int(path.name))
    for path in (newest / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    said = []
    resumed = train(tmp_path, say=said.append)
    assert any("cannot be read" in line for line in said)
    doubles.assert_equal(resumed.learned, whole[1].learned)
    assert metrics(tmp_path) == metrics(whole[0])


def test_calls_of_three_updates_end_where_single_ones_do(whole, tmp_path):
    """8 = 3 + 3 + 2 and 12 = 4 x 3: the phases are not mixed."""
    method = doubles.Linear()
    trained = train(tmp_path, method, options=doubles.options(steps_per_call=3))
    doubles.assert_close(trained.learned, whole[1].learned)
    steps = [
        (row["step"], row["phase"]) for row in read_rows(tmp_path / "metrics.jsonl")
    ]
    assert steps == [
        (row["step"], row["phase"]) for row in read_rows(whole[0] / "metrics.jsonl")
    ]


def test_two_devices_end_where_one_does(whole, tmp_path):
    trained = train(tmp_path, options=doubles.options(num_devices=2))
    doubles.assert_close(trained.learned, whole[1].learned, 1e-4)


# -- cached features ----------------------------------------------------------------


def test_cached_features_give_the_same_losses(whole, tmp_path):
    trained = train(tmp_path, options=doubles.options(cache_features=True))
    doubles.assert_close(trained.learned, whole[1].learned, 1e-5)
    pairs = zip(
        read_rows(tmp_path / "metrics.jsonl"),
        read_rows(whole[0] / "metrics.jsonl"),
        strict=True,
    )
    for cached, plain in pairs:
        for name in ("L_fast", "L_slow"):
            if name in plain:
                assert cached[name] == pytest.approx(plain[name], rel=1e-5)


def test_cached_features_are_refused_where_images_are_augmented(tmp_path):
    caching = doubles.options(cache_features=True)
    with pytest.raises(UserError, match="cache_features"):
        train(tmp_path, category=doubles.category(doubles.JITTERED), options=caching)


def test_a_method_may_decline_the_augmentation(whole, tmp_path):
    """Then its features may be cached, and it sees the plain images."""
    method = dataclasses.replace(doubles.Linear(), augmented=False)
    trained = train(
        tmp_path,
        method,
        doubles.category(doubles.JITTERED),
        options=doubles.options(cache_features=True),
    )
    doubles.assert_close(trained.learned, whole[1].learned, 1e-5)


# -- phases -------------------------------------------------------------------------


class Namesakes(doubles.Linear):
    """Both phases have the name of the first."""

    def phases(self, steps_per_epoch):
        return tuple(
            dataclasses.replace(phase, name="fast")
            for phase in super().phases(steps_per_epoch)
        )


def test_phases_of_one_name_are_refused_before_training(tmp_path):
    with pytest.raises(UserError, match="Namesakes has 2 phases named 'fast'"):
        train(tmp_path, Namesakes())
    assert not (tmp_path / "checkpoints").exists()


def test_costs_of_phases_of_one_name_are_refused():
    method, category = Namesakes(), doubles.category(doubles.IDENTITY)
    feed = InMemory(method, category, SEEDS, False)
    frozen = method.prepare(category.train)
    with pytest.raises(UserError, match="2 phases named 'fast'"):
        estimate.measure_cost(method, feed, frozen, SEEDS, doubles.options())
    with pytest.raises(UserError, match="2 phases named 'fast'"):
        timing.TimedTrainer(method, feed, SEEDS, doubles.options())


def test_each_phase_is_compiled_from_its_own_update():
    """Whatever its name: a program is looked up by the position of its phase."""
    method, category = doubles.Linear(), doubles.category(doubles.IDENTITY)
    feed, options = InMemory(method, category, SEEDS, False), doubles.options()
    training = timing.TimedTrainer(method, feed, SEEDS, options)
    training.phases = Namesakes(traces=method.traces).phases(feed.steps_per_epoch)
    frozen = method.prepare(category.train)
    states, resources = training.start(frozen)
    training.describe_costs(states, resources)
    assert method.traces == ["fast"] * 2 + ["both"] * 2


# -- refusals -----------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_checkpoint_before(tmp_path):
    method = doubles.Linear(nan_at=6)
    saving = doubles.options(checkpoint_minutes=0.0)
    with pytest.raises(UserError, match="L_fast is nan at step 6, seed 0"):
        train(tmp_path, method, options=saving)
    like = doubles.states_of(method, SEEDS)
    checkpoints = Checkpoints(tmp_path / "checkpoints", {}, doubles.layout_of(1))
    step, states = checkpoints.restore(like, print)
    checkpoints.close()
    assert step == 5
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(states.learned))
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [
        1, 1, 4, 4,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("batch_size", "devices", "says"),
    [(19, 1, "only 18 training"), (6, 4, "4 devices cannot share"), (0, 1, "least 1")],
)
def test_a_batch_that_does_not_fit_is_refused(tmp_path, batch_size, devices, says):
    method = dataclasses.replace(doubles.Linear(), batch_size=batch_size)
    with pytest.raises(UserError, match=says):
        train(tmp_path, method, options=doubles.options(devices))
    assert not (tmp_path / "checkpoints").exists()
