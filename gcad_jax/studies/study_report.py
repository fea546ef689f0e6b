"""What a study of runs writes: every number, tables, a figure."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from gcad_jax.files import written
from gcad_jax.studies import bars
from gcad_jax.studies.bars import Panel

_ABSENT = "Not in this report"


def outputs(name: str) -> dict[str, str]:
    """Names of the files of the study `name`, by format."""
    return {form: f"{name}.{form}" for form in ("json", "md", "png", "pdf")}


def absent(missing: Mapping[str, str]) -> str:
    """The sentence about runs that have no results, by label and why; "" for none."""
    told = "; ".join(f"{label} ({why})" for label, why in missing.items())
    return f"{_ABSENT}: {told}." if told else ""


def holds(
    folder: epath.Path,
    name: str,
    numbers: Mapping[str, Any],
    missing: Mapping[str, str],
) -> bool:
    """Whether the folder has this report, all of its files.

    missing: as in `absent`.
    """
    files = {form: folder / file for form, file in outputs(name).items()}
    if not all(file.exists() for file in files.values()):
        return False
    told = absent(missing)
    try:
        text = files["md"].read_text(encoding="utf-8")
        if (told not in text) if told else (_ABSENT in text):
            return False
        return json.loads((folder / f"{name}.json").read_text()) == json.loads(
            json.dumps(numbers)
        )
    except ValueError:
        return False


def write(
    folder: epath.Path,
    name: str,
    numbers: Mapping[str, Any],
    parts: Sequence[str],
    panels: Sequence[Panel],
) -> None:
    """Writes the `outputs`, all or none.

    numbers: for the JSON. parts: of the report, Markdown, the heading first; the figure
    comes behind the second.
    """
    figure = f"![AU-sPRO and image AU-ROC by kind]({name}.png)"
    text = "\n\n".join([*parts[:2], figure, *parts[2:]]) + "\n"
    with contextlib.ExitStack() as files:
        part = {
            form: files.enter_context(written(folder / file))
            for form, file in outputs(name).items()
        }
        bars.draw({form: part[form] for form in ("png", "pdf")}, panels)
        part["json"].write_text(
            json.dumps(numbers, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        part["md"].write_text(text, encoding="utf-8")
