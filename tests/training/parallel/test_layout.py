"""Layouts: who has which seeds and examples, and that it makes no difference."""

import types

import numpy as np
import pytest
from helpers import doubles

from gcad_jax.core.axes import BATCH, SEED
from gcad_jax.core.errors import UserError
from gcad_jax.training import loop
from gcad_jax.training.logs import read_rows
from gcad_jax.training.options import RunContext
from gcad_jax.training.parallel.batch_layout import BatchLayout
from gcad_jax.training.parallel.choose_layout import choose_layout
from gcad_jax.training.parallel.seed_layout import SeedLayout
from gcad_jax.training.step import StepOptions

SEEDS = (0, 7, 3, 5)
ROWS = np.random.default_rng(0).integers(0, 18, (3, 4, 4)).astype(np.int32)


def device(process, number=0):
    return types.SimpleNamespace(process_index=process, platform="tpu", number=number)


FOUR = tuple(device(0, i) for i in range(4))
TWO_HOSTS = tuple(device(p, i) for p in range(2) for i in range(4))


@pytest.mark.parametrize(
    ("kind", "batch", "seeds", "count", "devices", "expected"),
    [
        ("", 1, 1, 0, FOUR, (BATCH, 1)),
        ("", 16, 1, 0, FOUR, (BATCH, 4)),
        ("", 1, 3, 0, FOUR, (SEED, 3)),
        ("", 16, 4, 0, FOUR, (SEED, 4)),  # as many devices, and nothing crosses
        ("", 16, 2, 0, FOUR, (BATCH, 4)),
        ("", 6, 5, 0, FOUR, (BATCH, 3)),
        ("", 16, 4, 2, FOUR, (SEED, 2)),
        ("", 16, 3, 2, FOUR, (BATCH, 2)),
        (BATCH, 16, 4, 0, FOUR, (BATCH, 4)),
        (SEED, 16, 2, 0, FOUR, (SEED, 2)),
        ("", 4, 4, 0, FOUR[:1], (BATCH, 1)),
        ("", 16, 1, 0, TWO_HOSTS, (BATCH, 8)),
        ("", 6, 1, 0, TWO_HOSTS, (BATCH, 6)),
        ("", 1, 4, 0, TWO_HOSTS, (SEED, 4)),
    ],
)
def test_the_layout_that_uses_most_devices(
    kind, batch, seeds, count, devices, expected
):
    layout = choose_layout(kind, batch, seeds, count, devices)
    assert (layout.kind, len(layout.devices)) == expected
    of_host = [d.process_index for d in layout.devices]
    assert of_host == sorted(of_host)
    assert len({of_host.count(p) for p in of_host}) == 1  # every host gives as many


@pytest.mark.parametrize(
    ("kind", "batch", "seeds", "count", "devices", "words"),
    [
        ("", 3, 1, 2, FOUR, ["batch_size is 3", "2 devices", "multiple of 2"]),
        (SEED, 4, 3, 2, FOUR, ["3 seeds", "2 devices", " layout=batch."]),
        ("", 4, 1, 5, FOUR, ["num_devices is 5", "4 tpu devices."]),
        ("", 3, 1, 3, TWO_HOSTS, ["num_devices is 3", "8 tpu devices of 2 processes"]),
        ("", 1, 1, 0, TWO_HOSTS, ["batch_size is 1", "2 devices"]),
    ],
)
def test_a_layout_that_there_is_not(kind, batch, seeds, count, devices, words):
    with pytest.raises(UserError) as raised:
        choose_layout(kind, batch, seeds, count, devices)
    assert all(word in str(raised.value) for word in words), raised.value


def test_each_device_has_its_part_of_each_batch_or_its_seeds():
    rows = np.arange(2 * 4 * 6).reshape(2, 4, 6)  # calls, seeds, batch
    by_batch = BatchLayout(FOUR[:3]).split(rows)
    assert by_batch.shape == (3, 2, 4, 2)
    np.testing.assert_array_equal(by_batch[1], rows[:, :, 2:4])
    by_seed = SeedLayout(FOUR[:2]).split(rows)
    assert by_seed.shape == (2, 2, 2, 6)
    np.testing.assert_array_equal(by_seed[1], rows[:, 2:])


@pytest.fixture(scope="module")
def method():
    return doubles.Linear()


def updates(method, kind, num_devices, how="unroll"):
    return doubles.single_calls(
        method.phases(4)[1],
        doubles.JITTERED,
        StepOptions(how),
        num_devices,
        doubles.states_of(method, SEEDS),
        doubles.resources_of(method, doubles.random_images(18)),
        ROWS,
        kind,
    )


@pytest.mark.parametrize("num_devices", [2, 4])
@pytest.mark.parametrize("how", ["unroll", "vmap"])
def test_seeds_on_devices_of_their_own_learn_what_they_learn_together(
    method, num_devices, how
):
    together = updates(method, BATCH, 1)
    apart = updates(method, SEED, num_devices, how)
    doubles.assert_close(apart, together)


def test_states_come_back_from_the_devices(method):
    states = doubles.states_of(method, SEEDS)
    for kind in (BATCH, SEED):
        layout = doubles.layout_of(4, kind)
        there = layout.states_to_device(states)
        doubles.assert_equal(doubles.as_given(layout.states_to_host(there)), states)
        doubles.assert_equal(doubles.as_given(layout.to_checkpoint(there)), states)
        if kind == SEED:  # each device has one seed, and no other
            shards = there.learned.params["fast"]["kernel"].addressable_shards
            assert [s.data.shape[:2] for s in shards] == [(1, 1)] * 4


def train(folder, kind, num_devices, **options):
    folder.mkdir(exist_ok=True)
    return loop.train(
        doubles.Linear(),
        doubles.category(doubles.IDENTITY),
        RunContext(
            SEEDS,
            folder,
            doubles.options(num_devices, kind=kind, **options),
            {},
            lambda line: None,
        ),
    )


def test_a_training_stopped_in_one_layout_goes_on_in_another(tmp_path, monkeypatch):
    """Stopped after 8 of 20 steps by batches on two devices; ends by seeds on four."""
    whole = train(tmp_path / "whole", SEED, 4)
    logged = loop.MetricsLog.write

    def stop(self, step, *rest):
        logged(self, step, *rest)
        if step == 12:
            raise OSError("as if the machine had gone")

    with monkeypatch.context() as patched:
        patched.setattr(loop.MetricsLog, "write", stop)
        with pytest.raises(OSError, match="gone"):
            train(tmp_path / "stopped", BATCH, 2, checkpoint_minutes=0.0)
    ended = train(tmp_path / "stopped", SEED, 4)
    assert ended.places == whole.places == range(4)
    doubles.assert_close(ended.learned, whole.learned)
    rows = [(tmp_path / name / "metrics.jsonl") for name in ("whole", "stopped")]
    one, other = ([r["step"] for r in read_rows(path)] for path in rows)
    assert one == other


def test_each_seed_by_itself_is_checked_for_numbers_that_are_none(tmp_path):
    method = doubles.Linear(nan_at=3)
    with pytest.raises(UserError, match="L_fast is nan at step 3, seed 0"):
        loop.train(
            method,
            doubles.category(doubles.IDENTITY),
            RunContext(
                SEEDS, tmp_path, doubles.options(4, kind=SEED), {}, lambda line: None
            ),
        )
