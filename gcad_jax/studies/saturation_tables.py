"""Tables of the study of the saturation thresholds, readable in 80 columns of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from gcad_jax.evaluation.scores import KIND_OR_MEAN, LIMITS
from gcad_jax.evaluation.tables import LIMIT, NONE, short

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
    return table([short(kind), *heads], rows, 1)


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
    return table(heads, rows, 1)


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
        table(heads, rows, 1),
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


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A Markdown table in columns; all but the first `texts` ones flush right."""
    lines = [[cell.replace("|", r"\|") for cell in row] for row in (heads, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = [
        f":{'-' * (width - 1)}" if i < texts else f"{'-' * (width - 1)}:"
        for i, width in enumerate(widths)
    ]
    shown = [
        [
            cell.ljust(width) if i < texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (shown[0], rule, *shown[1:]))


def _cell(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"
