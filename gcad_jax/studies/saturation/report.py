"""Tables of the study of the saturation thresholds, readable in 80 columns of text."""

import contextlib
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import atomic_file
from gcad_jax.evaluation.results import KIND_OR_MEAN, LIMITS
from gcad_jax.reporting import html as page
from gcad_jax.reporting.plots import style
from gcad_jax.reporting.tables import LIMIT, NONE, markdown_table, short
from gcad_jax.studies.saturation.evaluate import JSON, NOTHING_VARIES
from gcad_jax.studies.saturation.statistics import overall

MARKDOWN, PAGE = "saturation.md", "saturation.html"

PNG, PDF = "saturation.png", "saturation.pdf"

OUTPUTS = (JSON, MARKDOWN, PAGE, PNG, PDF)

WIDTH = 80

OVERALL = "all categories"

_MEAN = """\
Means over the categories, each with thresholds of its own in every draw, as the paper
ranks methods."""

_CAPTION = f"""\
*AU-sPRO up to {LIMIT} over the draws, one row a method: their distribution, their
middle 90 % (line) and the original thresholds (upright line).*"""

MOST_PAIRS = 20
LONGEST = 20  # characters of a name
COLUMNS = ("original", "mean", "std", "0.05", "0.5", "0.95")  # of a `spread`


def count(number: int, one: str, several: str) -> str:
    """'1 method' or '3 methods'."""
    return f"{number} {one if number == 1 else several}"


def labels(methods: Sequence[str]) -> list[str]:
    """Distinct, of at most `LONGEST` characters: a long name loses its middle."""
    found: list[str] = []
    for number, name in enumerate(methods, start=1):
        label = name if len(name) <= LONGEST else _cut(name, "…")
        if label in found or (label != name and label in methods):
            label = _cut(name, f"…{number}…")
        found.append(label)
    return found


def _cut(name: str, middle: str) -> str:
    kept = LONGEST - len(middle)
    return name[: kept - kept // 2] + middle + name[len(name) - kept // 2 :]


def tables(
    statistics: Mapping[str, Any], shown: Mapping[str, str], varies: bool
) -> list[str]:
    """shown: label of each method. varies: whether the ranking is worth a table."""
    spreads = [_spread(statistics["auspro"], shown, kind) for kind in KIND_OR_MEAN]
    parts = [f"AU-sPRO up to a false positive rate of {LIMIT}:", *spreads]
    if varies and statistics["pairs"]:
        parts.append(_agreement(statistics["ranking"]))
        parts += _changes(statistics["pairs"], shown)
    return parts


def _spread(by_method: Mapping[str, Any], shown: Mapping[str, str], kind: str) -> str:
    heads = [f"{float(c):.0%}" if c[0].isdigit() else c for c in COLUMNS]
    rows = [
        [shown[method], *(_cell(by_kind[kind][LIMIT][column]) for column in COLUMNS)]
        for method, by_kind in by_method.items()
    ]
    return markdown_table([short(kind), *heads], rows, 1, aligned=True)


def _agreement(ranking: Mapping[str, Any]) -> str:
    rows = [
        [
            *(short(kind), limit, f"{found['unchanged']:.2%}"),
            *(_cell(found[f"kendall_tau_{name}"]) for name in ("mean", "min")),
        ]
        for kind in KIND_OR_MEAN
        for limit in LIMITS
        if (found := ranking[kind][limit])
    ]
    heads = ["ranking", "limit", "unchanged", "Kendall's tau, mean", "lowest"]
    return markdown_table(heads, rows, 1, aligned=True)


def _changes(pairs: Sequence[Mapping[str, Any]], shown: Mapping[str, str]) -> list[str]:
    """The pairs that most draws order otherwise, at the paper's limit."""
    shares = [
        (
            " / ".join(shown[method] for method in pair["methods"]),
            [pair["changed"][kind][LIMIT] for kind in KIND_OR_MEAN],
        )
        for pair in pairs
    ]
    moved = [(names, of_kinds) for names, of_kinds in shares if any(of_kinds)]
    if not moved:
        return [f"At limit {LIMIT} every draw orders every pair as the original does."]
    moved.sort(key=lambda pair: -max(share or 0 for share in pair[1]))
    rows = [
        [names, *(NONE if share is None else f"{share:.2%}" for share in of_kinds)]
        for names, of_kinds in moved[:MOST_PAIRS]
    ]
    heads = ["draws that change the order", *map(short, KIND_OR_MEAN)]
    return [
        f"At limit {LIMIT}, the share of draws that order a pair otherwise:",
        markdown_table(heads, rows, 1, aligned=True),
        *_others(len(moved) - len(rows), len(shares) - len(moved)),
    ]


def _others(moved: int, still: int) -> list[str]:
    """A sentence about the pairs that the table does not show."""
    parts = []
    if moved > 0:
        parts.append(f"{count(moved, 'pair changes', 'pairs change')} less")
    if still:
        keeps = count(still, "pair keeps its", "pairs keep their")
        parts.append(f"{keeps} order in every draw")
    return ["; ".join(parts) + "."] if parts else []


def _cell(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def write(
    folder: epath.Path, found: Mapping[str, Any], values: Mapping[str, np.ndarray]
) -> None:
    """Writes OUTPUTS, all or none.

    found: of `saturation_statistics.result`. values: by category, as there.
    """
    from gcad_jax.studies.saturation import figure as saturation_figure

    drawn = dict(values)
    if len(values) > 1:
        drawn = {OVERALL: overall(list(values.values())), **values}
    with contextlib.ExitStack() as files:
        part = {
            name: files.enter_context(atomic_file(folder / name)) for name in OUTPUTS
        }
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
