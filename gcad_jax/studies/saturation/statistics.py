"""Numbers of the study of the saturation thresholds: spreads, changes, agreement."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gcad_jax.evaluation.results import KIND_OR_MEAN, LIMITS
from gcad_jax.studies import statistics as rankings


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
    at = {
        (kind, limit): values[:, k, n]
        for k, kind in enumerate(KIND_OR_MEAN)
        for n, limit in enumerate(LIMITS)
    }
    compared = {key: _compared(cell) for key, cell in at.items()}
    return {
        "auspro": {
            method: _nested({key: rankings.spread(cell[m]) for key, cell in at.items()})
            for m, method in enumerate(methods)
        },
        "pairs": [
            {
                "methods": list(pair),
                "changed": _nested(
                    {key: shares and shares[p] for key, (shares, _) in compared.items()}
                ),
            }
            for p, pair in enumerate(rankings.pairs(methods))
        ],
        "ranking": _nested({key: ranking for key, (_, ranking) in compared.items()}),
    }


def _compared(
    values: np.ndarray,
) -> tuple[list[float] | None, dict[str, float | None] | None]:
    """(methods, 1 + draws) -> share of changes of each pair, agreement of the ranking.

    None where the kind has no values; the agreement also where there is no pair.
    """
    if np.isnan(values).any():
        return None, None
    signs = rankings.orders(values)  # of many methods the largest array: not kept
    if not len(signs):
        return [], None
    tau = rankings.kendall(signs)
    known = np.empty(0) if tau is None else tau[~np.isnan(tau)]
    return rankings.changed(signs).tolist(), {
        "unchanged": float((signs[:, 1:] == signs[:, :1]).all(axis=0).mean()),
        "kendall_tau_mean": float(known.mean()) if known.size else None,
        "kendall_tau_min": float(known.min()) if known.size else None,
    }


def _nested(values: Mapping[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
    """{(kind, limit): value} -> {kind: {limit: value}}."""
    found: dict[str, dict[str, Any]] = {}
    for (kind, limit), value in values.items():
        found.setdefault(kind, {})[limit] = value
    return found
