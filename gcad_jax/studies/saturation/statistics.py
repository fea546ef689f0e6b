"""Numbers of the study of the saturation thresholds: spreads, changes, agreement."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gcad_jax.evaluation.results import KIND_OR_MEAN, LIMITS
from gcad_jax.studies import statistics


@dataclasses.dataclass(frozen=True)
class ThresholdStudy:
    """One category after its passes.

    auspro: (methods, kinds, limits, 1 + draws) of structural and logical images, the
        original first; NaN for a kind without regions or negatives.
    facts: what its file says beside: "thresholds" by type, "varying" and "regions"
        (how many), "exact" and "bound" by method.
    """

    auspro: np.ndarray
    facts: Mapping[str, Any]


def summarize_study(
    methods: Sequence[str],
    studies: Mapping[str, ThresholdStudy],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The contents of saturation.json. studies: by category."""
    mean = mean_over_categories([study.auspro for study in studies.values()])
    return {
        "settings": dict(settings),
        "methods": list(methods),
        "categories": {
            name: {**study.facts, **summarize_draws(methods, study.auspro)}
            for name, study in studies.items()
        },
        "overall": summarize_draws(methods, mean) if len(studies) > 1 else None,
    }


def mean_over_categories(auspro: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over those that have the kind; draw d of each goes together."""
    stacked = np.stack(auspro)  # (categories, methods, kinds, limits, 1 + draws)
    has_kind = ~np.isnan(stacked)
    total = np.where(has_kind, stacked, 0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return total / has_kind.sum(axis=0)


def with_mean(auspro: np.ndarray) -> np.ndarray:
    """Adds half the sum of both kinds as a third, on the axis before the limits."""
    return np.concatenate([auspro, auspro.mean(axis=-3, keepdims=True)], axis=-3)


def summarize_draws(methods: Sequence[str], auspro: np.ndarray) -> dict[str, Any]:
    """Spread of each method, changes of each pair, agreement of the whole ranking.

    auspro: (methods, kinds, limits, 1 + draws). Each is by kind, then by limit; every
    number is None for a kind that has none.
    """
    auspro = with_mean(auspro)
    spreads: list[dict[str, Any]] = [{} for _ in methods]
    pairs: list[dict[str, Any]] = [
        {"methods": list(pair), "changed": {}}
        for pair in itertools.combinations(methods, 2)
    ]
    ranking: dict[str, Any] = {}
    for k, kind in enumerate(KIND_OR_MEAN):
        for n, limit in enumerate(LIMITS):
            values = auspro[:, k, n]
            for by_kind, of_method in zip(spreads, values, strict=True):
                by_kind.setdefault(kind, {})[limit] = statistics.spread(of_method)
            shares, agreement = _compare_rankings(values)
            for pair, share in zip(pairs, shares, strict=True):
                pair["changed"].setdefault(kind, {})[limit] = share
            ranking.setdefault(kind, {})[limit] = agreement
    return {
        "auspro": dict(zip(methods, spreads, strict=True)),
        "pairs": pairs,
        "ranking": ranking,
    }


def _compare_rankings(
    values: np.ndarray,
) -> tuple[Sequence[float | None], dict[str, float | None] | None]:
    """(methods, 1 + draws) -> share of changes of each pair, agreement of the ranking.

    None where the kind has no values; the agreement also where there is no pair.
    """
    # Of many methods the largest array; so it is not kept for all kinds and limits.
    signs = statistics.order_signs(values)
    if np.isnan(values).any() or not len(signs):
        return [None] * len(signs), None
    tau = statistics.kendall_tau(signs)
    # NaN where all methods are equal in a draw: there is nothing to agree about.
    known = np.empty(0) if tau is None else tau[~np.isnan(tau)]
    return statistics.change_shares(signs).tolist(), {
        "unchanged": float((signs[:, 1:] == signs[:, :1]).all(axis=0).mean()),
        "kendall_tau_mean": float(known.mean()) if known.size else None,
        "kendall_tau_min": float(known.min()) if known.size else None,
    }
