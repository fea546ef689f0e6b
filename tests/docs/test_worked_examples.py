"""The new method and the new data set of the documentation run as they stand there."""

import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from helpers import commands, runs, worked

from gcad_jax.methods.common.image_score import (
    compute_image_scores,
    image_score_name,
)


@pytest.mark.long
@pytest.mark.parametrize("name", [worked.NEW_METHOD, worked.NEW_DATA_SET])
def test_the_page_leads_to_the_report_that_it_shows(name, tmp_path):
    shutil.copytree(runs.PACKAGE, tmp_path / "gcad_jax")
    for path, code in worked.files(name).items():
        file = tmp_path / path
        assert not file.exists()
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    lines = [
        commands.words(line)
        for line in commands.lines(worked.page(name))
        if "pytest" not in line  # test_protocol.py has the case itself
    ]
    for python, *words in lines:
        assert python == "python"
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env={**runs.environment(), "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert (done.returncode, done.stderr) == (0, "")
    [report] = tmp_path.glob("runs/*/report.md")
    shown = tables_of_this_run(worked.page(name))
    made = [
        table
        for table in tables_of_this_run(report.read_text())
        if table[0] in [other[0] for other in shown]
    ]
    assert len(shown) == len(made) == 2
    for ours, theirs in zip(shown, made, strict=True):
        check_alike(ours, theirs)


def test_the_score_that_the_page_adds_decides():
    """The two members under "An image score of its own", put into the class."""
    names, _ = worked.case()
    text = worked.page(worked.NEW_METHOD)
    section = text.split("## An image score of its own")[1].split("\n## ")[0]
    [members] = re.findall(r"```python\n(.*?)```", section, re.S)
    exec("from gcad_jax.core.types import ImageScores", names)
    body = textwrap.indent(members, "    ")
    exec(f"class WithScore(MeanFeatures):\n{body}", names)
    method = names["WithScore"]()
    assert image_score_name(method) == "mean distance of all places"
    combined = np.arange(24.0).reshape(2, 3, 4)
    scores = compute_image_scores(method, None, None, combined)
    np.testing.assert_allclose(scores, combined.mean(axis=(1, 2)))


def tables_of_this_run(text):
    return [t for t in worked.tables(text) if t[-1][0].endswith("(this run)")]


def check_alike(shown, made):
    """The same cells; numbers as near as another machine's rounding leaves them."""
    for one, other in zip(shown, made, strict=True):
        for cell, there in zip(one, other, strict=True):
            if re.fullmatch(r"\d\.\d+", cell):
                assert float(there) == pytest.approx(float(cell), abs=0.03)
            else:
                assert there == cell
