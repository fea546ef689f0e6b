"""The worked examples of the documentation: their files, cases and tables."""

import re

from helpers import runs

NEW_METHOD, NEW_DATA_SET = "new_method", "new_data_set"


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (runs.ROOT / "docs" / f"{name}.md").read_text()


def files(name: str) -> dict[str, str]:
    """Path and contents of each file that a page shows under its name."""
    found = re.findall(r"`([\w/]+\.py)`:\n\n```python\n(.*?)```", page(name), re.S)
    return dict(found)


def case() -> tuple[dict[str, object], str]:
    """What the file of the new method defines, and the case of the protocol test."""
    [code] = [c for path, c in files(NEW_METHOD).items() if "/methods/" in path]
    names: dict[str, object] = {"__name__": "mean_features"}
    exec(code, names)
    [entry] = re.findall(r'```python\n("\w+": Case\(.*?)```', page(NEW_METHOD), re.S)
    return names, f"{{{entry}}}"


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each row of each Markdown table."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    return [
        [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
        for table in found
    ]
