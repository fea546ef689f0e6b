"""`python -m gcad_jax.benchmarks.onnx`: its rows, and what it says of a mistake."""

import re

import pytest

from gcad_jax.benchmarks import onnx
from gcad_jax.core import console

pytest.importorskip("onnxruntime")
CONFIG = """
from gcad_jax.methods.variation_model import VariationModel
from helpers import runs

def get_config():
    return runs.tiny(method=VariationModel(image_size=32))
"""
ROW = re.compile(
    r"(\S+) +([\d.]+) +([\d.e+-]+) +\S+ +\S+ +([\d.]+) \(([\d.]+)-([\d.]+)\)"
)


def test_a_row_for_each_config(tmp_path, capsys):
    file = tmp_path / "double.py"
    file.write_text(CONFIG)
    onnx.main([str(file), str(file), "--batch=2", "--rounds=3"])
    console.set_verbosity()
    about, header, *rows = capsys.readouterr().out.splitlines()
    assert "batches of 2" in about
    assert header == onnx.HEADER
    assert len(rows) == 2
    for row in rows:
        config, _, difference, *ratios = ROW.fullmatch(row).groups()
        assert config == str(file)
        assert float(difference) < 1e-4
        middle, low, high = map(float, ratios)
        assert low <= middle <= high


def test_a_config_that_is_not_there(capsys):
    with pytest.raises(SystemExit, match=r"configs/locos\.py"):
        onnx.main(["configs/locos.py"])
    console.set_verbosity()
