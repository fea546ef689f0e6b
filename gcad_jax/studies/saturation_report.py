"""What the study of the saturation thresholds writes: numbers, tables, a figure."""

import contextlib
import json
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from gcad_jax import page, style
from gcad_jax.evaluation.tables import LIMIT
from gcad_jax.files import written
from gcad_jax.studies.drawings import JSON, NOTHING_VARIES
from gcad_jax.studies.saturation_statistics import overall
from gcad_jax.studies.saturation_tables import count, labels, tables

MARKDOWN, PAGE = "saturation.md", "saturation.html"
PNG, PDF = "saturation.png", "saturation.pdf"
OUTPUTS = (JSON, MARKDOWN, PAGE, PNG, PDF)
WIDTH = 80
OVERALL = "all categories"


def write(
    folder: epath.Path, found: Mapping[str, Any], values: Mapping[str, np.ndarray]
) -> None:
    """Writes OUTPUTS, all or none.

    found: of `saturation_statistics.result`. values: by category, as there.
    """
    from gcad_jax.studies import saturation_figure

    drawn = dict(values)
    if len(values) > 1:
        drawn = {OVERALL: overall(list(values.values())), **values}
    with contextlib.ExitStack() as files:
        part = {name: files.enter_context(written(folder / name)) for name in OUTPUTS}
        text = json.dumps(found, indent=2, allow_nan=False)
        part[JSON].write_text(text + "\n", encoding="utf-8")
        shown = markdown(found)
        part[MARKDOWN].write_text(shown, encoding="utf-8")
        figure = saturation_figure.draw(labels(found["methods"]), drawn)
        style.save(figure, {"png": part[PNG], "pdf": part[PDF]})
        html = page.render(shown, folder, {PNG: part[PNG]})
        part[PAGE].write_text(html, encoding="utf-8")


def markdown(found: Mapping[str, Any]) -> str:
    """saturation.md; readable as text, too."""
    settings, own = found["settings"], labels(found["methods"])
    shown = dict(zip(found["methods"], own, strict=True))
    parts = ["# Sensitivity to the saturation thresholds", _reading(settings)]
    if long := [f"- {label}: {name}" for name, label in shown.items() if label != name]:
        parts += ["Names that are shortened below:", "\n".join(long)]
    if found["overall"]:
        varies = any(category["varying"] for category in found["categories"].values())
        parts += [f"## {OVERALL.capitalize()}", _MEAN]
        parts += tables(found["overall"], shown, varies)
    for name, category in found["categories"].items():
        parts += [f"## {name}", _facts(category)]
        parts += tables(category, shown, category["varying"] > 0)
    parts += [f"![AU-sPRO of the draws]({PNG})", _CAPTION]
    return "\n\n".join(parts) + "\n"


_MEAN = """\
Means over the categories, each with thresholds of its own in every draw, as the paper
ranks methods."""
_CAPTION = f"""\
*AU-sPRO up to {LIMIT} over the draws, one row a method: their distribution, their
middle 90 % (line) and the original thresholds (upright line).*"""


def _reading(settings: Mapping[str, Any]) -> str:
    relative = "" if settings["vary_relative"] else " or are relative"
    return textwrap.fill(
        f"{settings['num_draws']} draws (seed {settings['seed']}): the threshold of "
        f"each type of defect is uniform in {settings['low']:g} to "
        f"{settings['high']:g} times its original, the same for every method. Regions "
        f"that saturate at their area{relative} stay. AU-sPRO is in 0 to 1, larger is "
        f"better. {JSON} has all limits of the false positive rate, and every pair.",
        WIDTH,
    )


def _facts(category: Mapping[str, Any]) -> str:
    if not category["varying"]:
        return textwrap.fill(NOTHING_VARIES, WIDTH)
    text = (
        f"The saturation of {category['varying']} of {category['regions']} regions "
        f"varies, by {count(len(category['thresholds']), 'threshold', 'thresholds')}."
    )
    if (bound := max(category["bound"].values())) > 0:
        text += f" Values are at most {bound:.1e} from exact."
    return textwrap.fill(text, WIDTH)
