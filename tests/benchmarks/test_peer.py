"""`python -m gcad_jax.benchmarks.peer`: both sides work in turn."""

import functools
import json
import re

import pytest
from helpers import doubles

from gcad_jax.benchmarks import peer

ROW = re.compile(r"(\w+)(, median)? +([\d.e+-]+) +([\d.e+-]+) +([\d.]+)")
# Each call waits as long as its name says, and notes that it was made.
FILE = """
import pathlib, time
def step_fn(preset, batch, channels_last, compiled):
    assert (preset, batch, channels_last, compiled) == ("small", 2, 1, 0)
    def call(name):
        with pathlib.Path(__file__).with_name("calls").open("a") as log:
            print(name, file=log)
        time.sleep(0.01)
    return (lambda: call("train")), (lambda: call("score"))
"""


@pytest.fixture
def tiny(monkeypatch):
    """Of a method that compiles in a moment, and not for whole seconds."""
    method = functools.partial(doubles.Scored, batch_size=2)
    monkeypatch.setitem(peer.PRESETS, "narrow", (method, "small"))
    monkeypatch.setattr(peer, "number", json.loads)


def test_rows(tiny, tmp_path, capsys):
    file = tmp_path / "other.py"
    file.write_text(FILE)
    peer.main([f"--peer={file}", "--rounds=2", "--seconds=0.1", "--plain"])
    _, _, *lines = capsys.readouterr().out.splitlines()
    found = [ROW.fullmatch(line).groups() for line in lines]
    assert [name for name, *_ in found] == ["train"] * 3 + ["score"] * 3
    assert [bool(median) for _, median, *_ in found] == [False, False, True] * 2
    for _, _, ours, theirs, ratio in found:
        assert float(ratio) == pytest.approx(float(ours) / float(theirs), rel=0.5)
        assert float(theirs) <= 200  # two images in 10 ms or more
    calls = (tmp_path / "calls").read_text().split()
    assert calls == sorted(calls, reverse=True)  # all updates, then all scores


def test_a_peer_that_fails(tiny, tmp_path):
    file = tmp_path / "other.py"
    file.write_text("step_fn = None")
    with pytest.raises(SystemExit, match=r"other\.py ended without an answer"):
        peer.main([f"--peer={file}", "--rounds=1", "--seconds=1"])


@pytest.mark.parametrize("flag", ["--peer=missing.py", "--python=missing"])
def test_what_is_not_there(flag, capsys):
    with pytest.raises(SystemExit, match="2"):
        peer.main([f"--peer={__file__}", flag])
    assert f"{flag} is no " in capsys.readouterr().err
