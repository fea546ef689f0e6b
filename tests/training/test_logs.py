"""metrics.jsonl and TensorBoard files, read by hand."""

import json
import struct

import numpy as np
import pytest

from gcad_jax.core.errors import UserError
from gcad_jax.training.logs import MetricsLog, check_finite, read_rows


def fill(folder, resume_step, steps):
    log = MetricsLog(folder, resume_step)
    for step in steps:
        metrics = {"L_loc": np.float32([step, 10 * step]), "L_kd": np.zeros(2)}
        log.write(step, step / 4, "joint", (3, 5), metrics)
    log.close()


def board(folder):
    """(tag, step) -> value, from the records of all event files in order of time."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):  # u64 length, u32 check, payload, u32 check
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return found


def test_a_row_for_each_seed(tmp_path):
    fill(tmp_path, 0, [1])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    row = {"step": 1, "epoch": 0.25, "phase": "joint", "seed": 3}
    assert [json.loads(line) for line in lines] == [
        {**row, "L_loc": 1.0, "L_kd": 0.0},
        {**row, "seed": 5, "L_loc": 10.0, "L_kd": 0.0},
    ]


def test_tensorboard_holds_the_scalars(tmp_path):
    fill(tmp_path, 0, [1, 4])
    assert board(tmp_path) == {
        (f"seed_{seed}/{name}", step): factor * step * (name == "L_loc")
        for seed, factor in ((3, 1.0), (5, 10.0))
        for name in ("L_loc", "L_kd")
        for step in (1, 4)
    }


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    """Steps 1, 4, 8 were logged, the checkpoint is of 5, the run goes on."""
    fill(tmp_path, 0, [1, 4, 8])
    fill(tmp_path, 5, [8, 12])
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 1, 4, 4, 8, 8, 12, 12]


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
def test_a_last_line_that_a_kill_cut_short_is_dropped(tmp_path, cut):
    fill(tmp_path, 0, [1, 4, 8])
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    rows = read_rows(path)
    # One byte is the line's end alone: the row is whole.
    assert len(rows) == (6 if cut == 1 else 5)
    fill(tmp_path, 4, [8])
    assert path.read_bytes() == whole


def test_a_fresh_start_keeps_no_row(tmp_path):
    fill(tmp_path, 0, [1, 4])
    fill(tmp_path, 0, [])
    assert read_rows(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_names_step_term_and_seed(value):
    good = {"L_loc": np.ones(2)}
    check_finite(7, (3, 5), good)
    with pytest.raises(UserError, match=r"L_kd is -?(nan|inf) at step 7, seed 5"):
        check_finite(7, (3, 5), {**good, "L_kd": np.array([1.0, value])})
