"""`python -m gcad_jax.benchmarks.evaluate`: a row for each way of scoring."""

import re

import pytest

from gcad_jax.benchmarks import evaluate

SMALL = ["--scale=0.02", "--size=50,85", "--side=8"]
ROW = re.compile(r"(.+?) +([\d.]+) s  peak +[\d.]+ GiB  (?:bound ([\d.e+-]+))?")


def rows(capsys, *arguments):
    evaluate.main([*SMALL, *arguments])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("7 maps, 29,750 pixels, ")
    return [ROW.fullmatch(line).groups() for line in lines]


def test_ways_on_the_host(capsys):
    found = rows(capsys)
    assert [name for name, *_ in found] == [
        *["binned, upsampled from 8 x 8"] * 3,
        *["binned, maps in memory"] * 3,
        "exact, maps in memory",
        "numpy.sort of each map, one thread",
    ]
    assert [bound for *_, bound in found[-2:]] == ["0.0e+00", None]


def test_all_devices(capsys):
    found = rows(capsys, "--device")
    assert [name for name, *_ in found] == ["binned, 4 x cpu"] * 4


@pytest.mark.parametrize("flag", ["--size=5", "--size=0,3", "--side=0", "--scale=x"])
def test_a_mistake_is_said(flag, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate.main([flag])
    assert f"argument {flag.partition('=')[0]}: invalid" in capsys.readouterr().err
