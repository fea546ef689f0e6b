"""`python -m gcad_jax.benchmarks.predict`: what it times is what it says."""

import re

import numpy as np
import pytest
from helpers import doubles
from PIL import Image

from gcad_jax.benchmarks import predict
from gcad_jax.config import presets
from gcad_jax.core import console
from gcad_jax.core.machine import threads
from gcad_jax.core.paths import as_path

ROW = re.compile(r"(.+?) {2,}([\d.]+) +([\d.]+) +([\d.]+)")


@pytest.fixture
def printed(monkeypatch, capsys):
    monkeypatch.setattr(presets, "narrow", doubles.Scored)
    # given back afterwards
    monkeypatch.setattr(threads, "NUM_THREADS", threads.NUM_THREADS)
    predict.main(
        ["--preset=small", "--images=9", "--sides=5,30", "--pairs=1", "--threads=1,2"]
    )
    yield capsys.readouterr()
    console.set_verbosity()


def test_every_kind_of_output_is_set_against_the_bare_program(printed):
    rows = [ROW.fullmatch(line) for line in printed.out.splitlines()]
    found = [row.groups() for row in rows if row]
    assert [row[0] for row in found] == [*predict.OUTPUTS] * 2
    assert all(float(number) > 0 for row in found for number in row[1:3])
    assert "1 threads read, 1 write" in printed.out
    assert "2 threads read, 2 write" in printed.out
    assert "%|" not in printed.err  # no progress bars between the rows


def test_a_row_is_a_pair_and_its_ratio(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(presets, "narrow", doubles.Scored)
    monkeypatch.setattr(predict, "time_program", lambda *_: 8.0)
    monkeypatch.setattr(
        predict, "time_predict", lambda *given: asked.append(given[2]) or 6.0
    )
    predict.main(["--preset=small", "--images=2", "--sides=5,9"])
    console.set_verbosity()
    assert asked == [w for w in predict.OUTPUTS.values() for _ in range(2)]
    rows = [ROW.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.groups()[1:] for row in rows if row] == [("8.00", "6.00", "0.75")] * 6


def test_photos_are_of_many_sizes_and_the_same_every_time(tmp_path):
    sizes = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        files = predict.write_photos(as_path(tmp_path / name), 6, (20, 50))
        images = [np.asarray(Image.open(path)) for path in files.values()]
        sizes.append([image.shape for image in images])
    assert sizes[0] == sizes[1]
    assert len(set(sizes[0])) > 3
    assert all(20 <= side <= 50 for shape in sizes[0] for side in shape[:2])


@pytest.mark.parametrize(
    "flag", ["--images=0", "--sides=5", "--sides=9,3", "--threads=two", "--preset=big"]
)
def test_a_mistake_is_said(flag, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict.main([flag])
    assert f"argument {flag.partition('=')[0]}: invalid" in capsys.readouterr().err
