"""`python -m gcad_jax.benchmarks.first_update`: with, kept, and without options."""

import jax
import pytest
from helpers import doubles

from gcad_jax.benchmarks import first_update
from gcad_jax.core import console
from gcad_jax.studies.throughput.config import ThroughputStudy
from gcad_jax.training import compilation


def test_each_start_is_a_process_with_its_own_folder(monkeypatch, capsys):
    started = []

    def start(preset, with_options, folder):
        started.append((preset, with_options, folder))
        return {"compiling": 1.0, "first call": 2.0, "later call": 3.0}

    monkeypatch.setattr(first_update, "measure_apart", start)
    first_update.main(["--preset=small"])
    presets, options, folders = zip(*started, strict=True)
    assert set(presets) == {"small"}
    assert options == (True, True, False)
    assert folders[0] == folders[1] != folders[2]
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[-3:] for row in rows] == [["1.00", "2.00", "3.00"]] * 3


@pytest.mark.parametrize("with_options", [True, False])
def test_options_reach_the_compile_call_or_do_not(monkeypatch, with_options):
    """On this CPU by the name of another platform, whose options XLA knows too."""
    own = compilation.compiler_options
    monkeypatch.setattr(compilation, "compiler_options", lambda platform: own("gpu"))
    given = []
    compile_ = jax.stages.Lowered.compile

    def record(lowered, options=None, **fields):
        given.append(options)
        raise InterruptedError

    # The method that compiles in a moment: what is compiled is not the subject.
    study = ThroughputStudy(method=doubles.Scored(), num_images=8)
    monkeypatch.setattr(first_update.config, "throughput", lambda preset: study)
    monkeypatch.setattr(jax.stages.Lowered, "compile", record)
    try:
        with pytest.raises(InterruptedError):
            first_update.measure("small", with_options)
    finally:
        console.set_verbosity()
    assert compile_ is not jax.stages.Lowered.compile
    assert given == [own("gpu") if with_options else None]
