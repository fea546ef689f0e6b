"""What the study of the saturation thresholds writes: numbers, a table, a figure."""

import contextlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gcad_jax.evaluation.scores import KIND_OR_MEAN, LIMITS
from gcad_jax.evaluation.tables import LIMIT, short, table
from gcad_jax.files import written
from gcad_jax.studies import rankings

JSON, MARKDOWN = "saturation.json", "saturation.md"
PNG, PDF = "saturation.png", "saturation.pdf"
OUTPUTS = (JSON, MARKDOWN, PNG, PDF)
DRAWS = "draws.npz"  # of a category
OVERALL = "all categories"


def result(
    methods: Sequence[str],
    found: Mapping[str, tuple[np.ndarray, Mapping[str, Any]]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The contents of saturation.json.

    found: by category the values (methods, kinds, limits, 1 + draws) and the facts.
    """
    whole = overall([values for values, _ in found.values()])
    return {
        "settings": dict(settings),
        "methods": list(methods),
        "categories": {
            name: {**facts, **statistics(methods, values)}
            for name, (values, facts) in found.items()
        },
        "overall": statistics(methods, whole) if len(found) > 1 else None,
    }


def overall(values: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over the categories that have the kind; draw d of each goes together."""
    stacked = np.stack(values)  # (categories, methods, kinds, limits, 1 + draws)
    there = ~np.isnan(stacked)
    total = np.where(there, stacked, 0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return total / there.sum(axis=0)


def with_mean(values: np.ndarray) -> np.ndarray:
    """Adds half the sum of both kinds as a third, on the axis before the limits."""
    return np.concatenate([values, values.mean(axis=-3, keepdims=True)], axis=-3)


def statistics(methods: Sequence[str], values: np.ndarray) -> dict[str, Any]:
    """Spread of each method, changes of each pair, agreement of the whole ranking.

    values: (methods, kinds, limits, 1 + draws). Every number is None for a kind that
    has none.
    """
    values = with_mean(values)
    cells = {(k, n): values[:, k, n] for k in range(3) for n in range(len(LIMITS))}
    signs = {
        at: None if np.isnan(cell).any() else rankings.orders(cell)
        for at, cell in cells.items()
    }
    changed = {
        at: None if s is None else rankings.changed(s).tolist()
        for at, s in signs.items()
    }
    return {
        "auspro": {
            method: _by_kind(lambda at, m=m: rankings.spread(cells[at][m]))
            for m, method in enumerate(methods)
        },
        "pairs": [
            {
                "methods": list(pair),
                "changed": _by_kind(lambda at, p=p: (c := changed[at]) and c[p]),
            }
            for p, pair in enumerate(rankings.pairs(methods))
        ],
        "ranking": _by_kind(lambda at: _agreement(signs[at])),
    }


def count(number: int, one: str, several: str) -> str:
    """'1 method' or '3 methods'."""
    return f"{number} {one if number == 1 else several}"


def _by_kind(one: Any) -> dict[str, dict[str, Any]]:
    """{kind: {limit: one((kind, limit))}} by position."""
    return {
        kind: {limit: one((k, n)) for n, limit in enumerate(LIMITS)}
        for k, kind in enumerate(KIND_OR_MEAN)
    }


def _agreement(signs: np.ndarray | None) -> dict[str, float | None] | None:
    if signs is None or not len(signs):
        return None
    tau = rankings.kendall(signs)
    known = np.empty(0) if tau is None else tau[~np.isnan(tau)]
    return {
        "unchanged": float((signs[:, 1:] == signs[:, :1]).all(axis=0).mean()),
        "kendall_tau_mean": float(known.mean()) if known.size else None,
        "kendall_tau_min": float(known.min()) if known.size else None,
    }


def write(
    folder: pathlib.Path, found: Mapping[str, Any], values: Mapping[str, np.ndarray]
) -> None:
    """Writes OUTPUTS, all or none. values: by category, as in `result`."""
    from gcad_jax.studies import saturation_figure

    drawn = dict(values)
    if len(values) > 1:
        drawn[OVERALL] = overall(list(values.values()))
    with contextlib.ExitStack() as files:
        part = {name: files.enter_context(written(folder / name)) for name in OUTPUTS}
        text = json.dumps(found, indent=2, allow_nan=False)
        part[JSON].write_text(text + "\n", encoding="utf-8")
        part[MARKDOWN].write_text(markdown(found), encoding="utf-8")
        saturation_figure.draw(
            {"png": part[PNG], "pdf": part[PDF]}, found["methods"], drawn
        )


def markdown(found: Mapping[str, Any]) -> str:
    """saturation.md."""
    settings = found["settings"]
    parts = ["# Sensitivity to the saturation thresholds", _reading(settings)]
    if found["overall"]:
        parts += [f"## {OVERALL.capitalize()}", _MEAN, *_tables(found["overall"])]
    for name, category in found["categories"].items():
        parts += [f"## {name}", _facts(category), *_tables(category)]
    parts += [f"![AU-sPRO of the draws]({PNG})", f"*{_CAPTION}*"]
    return "\n\n".join(parts) + "\n"


_MEAN = (
    "Means over the categories, each with thresholds of its own in every draw, as the "
    "paper ranks methods."
)
_CAPTION = f"AU-sPRO up to {LIMIT} over the draws, one row a method."


def _reading(settings: Mapping[str, Any]) -> str:
    return (
        f"{settings['num_draws']} draws (seed {settings['seed']}): the absolute "
        f"threshold of each type of defect uniform in {settings['low']:g}.."
        f"{settings['high']:g} times its original, the same for every method; "
        "thresholds that are relative or not below the area of a region stay. AU-sPRO "
        "is in 0..1, larger is better. All limits of the false positive rate are in "
        f"{JSON}."
    )


def _facts(category: Mapping[str, Any]) -> str:
    text = (
        f"The saturation of {category['varying']} of {category['regions']} regions "
        f"varies, by {count(len(category['thresholds']), 'threshold', 'thresholds')}."
    )
    if (bound := max(category["bound"].values())) > 0:
        text += f" Values are at most {bound:.1e} from exact."
    return text


def _tables(statistics: Mapping[str, Any]) -> list[str]:
    return [_spread(statistics["auspro"]), *_rankings(statistics)]


def _spread(by_method: Mapping[str, Any]) -> str:
    columns = ("original", "mean", "std", "min", "0.05", "0.5", "0.95", "max")
    heads = [f"{float(c):.0%}" if c[0].isdigit() else c for c in columns]
    rows = [
        [method, short(kind), *(_cell(by_kind[kind][LIMIT][c]) for c in columns)]
        for kind in KIND_OR_MEAN
        for method, by_kind in by_method.items()
    ]
    return table(["Method", f"AU-sPRO up to {LIMIT}", *heads], rows, 2)


def _rankings(statistics: Mapping[str, Any]) -> list[str]:
    if not statistics["pairs"]:
        return []
    heads = ["Kind", "Limit", "ranking unchanged", "Kendall tau, mean", "min"]
    rows = []
    for kind in KIND_OR_MEAN:
        for limit in LIMITS:
            if found := statistics["ranking"][kind][limit]:
                tau = (found["kendall_tau_mean"], found["kendall_tau_min"])
                share = f"{found['unchanged']:.2%}"
                rows.append([short(kind), limit, share, *map(_cell, tau)])
    return [table(heads, rows, 1), _changes(statistics["pairs"])]


def _changes(pairs: Sequence[Mapping[str, Any]]) -> str:
    """The pairs that any draw orders otherwise, at the paper's limit."""
    shares = {
        tuple(pair["methods"]): [pair["changed"][k][LIMIT] for k in KIND_OR_MEAN]
        for pair in pairs
    }
    moved = {pair: s for pair, s in shares.items() if any(s)}
    if not moved:
        return f"At limit {LIMIT} every draw orders every pair as the original does."
    rows = [
        [" / ".join(pair), *("-" if x is None else f"{x:.2%}" for x in s)]
        for pair, s in moved.items()
    ]
    heads = [f"Order changed, limit {LIMIT}", *map(short, KIND_OR_MEAN)]
    rest = len(shares) - len(moved)
    also = f"\n\nThe other {rest} pairs keep their order in every draw." if rest else ""
    return table(heads, rows, 1) + also


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
