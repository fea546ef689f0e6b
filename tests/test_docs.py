"""The Python of the documentation runs."""

import pathlib
import re

import pytest

DOCS = pathlib.Path(__file__).parents[1] / "docs"
SNIPPETS = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, code in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    )
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippet_runs(code, capsys):
    exec(code, {})
    assert 0 <= float(capsys.readouterr().out) <= 1


def test_there_are_snippets():
    assert SNIPPETS
