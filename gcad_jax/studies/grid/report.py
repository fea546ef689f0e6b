"""What a study of runs writes: every number, tables, a figure."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from gcad_jax.core.atomic_files import atomic_file
from gcad_jax.reporting import html as page
from gcad_jax.reporting.plots import panels, style
from gcad_jax.reporting.plots.panel import Panel

_ABSENT = "Not in this report"


def outputs(name: str) -> dict[str, str]:
    """Names of the files of the study `name`, by format."""
    return {form: f"{name}.{form}" for form in ("json", "md", "html", *style.FORMATS)}


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
    """Whether the folder has this report, all of its files but the page.

    missing: as in `absent`.
    """
    files = {form: folder / file for form, file in outputs(name).items()}
    if not all(file.exists() for form, file in files.items() if form != "html"):
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
    drawn: Sequence[Panel],
) -> None:
    """Writes the `outputs`, all or none.

    numbers: for the JSON. parts: of the report, Markdown, the heading first; the figure
    of the panels `drawn` comes behind the second.
    """
    png = outputs(name)["png"]
    figure = f"![AU-sPRO and image AU-ROC by kind]({png})\n\n*{_caption(drawn)}*"
    text = "\n\n".join([*parts[:2], figure, *parts[2:]]) + "\n"
    with contextlib.ExitStack() as files:
        part = {
            form: files.enter_context(atomic_file(folder / file))
            for form, file in outputs(name).items()
        }
        style.save(panels.draw(drawn), {form: part[form] for form in style.FORMATS})
        part["json"].write_text(
            json.dumps(numbers, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        part["md"].write_text(text, encoding="utf-8")
        html = page.render(text, folder, {png: part["png"]})
        part["html"].write_text(html, encoding="utf-8")


def _caption(drawn: Sequence[Panel]) -> str:
    measures = " and ".join(dict.fromkeys(one.measure for one in drawn))
    seeds = "" if any(one.several for one in drawn) else "; one seed"
    return f"{measures or 'No numbers'}, by kind of anomaly{seeds}"
