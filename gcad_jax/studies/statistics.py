"""How values spread over draws, and how often they order methods otherwise."""

import math
import statistics
from typing import TypeAlias

import numpy as np

ROUNDING = 1e-9  # far above that of sums of 1e6 weights, far below any bound
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LEVEL, POWER = 0.05, 0.8  # of the test that `seeds_for_difference` plans
Summary: TypeAlias = dict[str, float | None]


def spread(values: np.ndarray) -> Summary:  # (1 + draws,), the original first
    """The original, and mean, sample deviation, range and quantiles of the draws.

    Every number is None where there are no values (NaN); "std" for one draw too.
    """
    original, draws = values[0], values[1:]
    quantiles = np.quantile(draws, QUANTILES)
    # Differences are exactly 0 where no draw changes anything; draws less their mean
    # would not be, and the deviation would be 1e-17 in place of 0.
    differences = draws - draws[0]
    summary = {
        "original": original,
        "mean": draws[0] + differences.mean(),
        "std": differences.std(ddof=1) if draws.size > 1 else np.nan,
        "min": draws.min(),
        **{str(q): v for q, v in zip(QUANTILES, quantiles, strict=True)},
        "max": draws.max(),
    }
    return {key: None if np.isnan(v) else float(v) for key, v in summary.items()}


def order_signs(values: np.ndarray) -> np.ndarray:  # (M, D) -> (M (M - 1) / 2, D) int8
    """Of each pair of methods: 1 where the first is higher, -1 lower, 0 equal.

    Pairs in the order of `itertools.combinations`; equal are also values that only
    rounding tells apart.
    """
    first, second = np.triu_indices(len(values), 1)
    lead = values[first] - values[second]
    return (lead > ROUNDING).astype(np.int8) - (lead < -ROUNDING)


def change_shares(signs: np.ndarray) -> np.ndarray:  # (pairs, 1 + draws) -> (pairs,)
    """Share of the draws in which a pair is not ordered as by the original."""
    return (signs[:, 1:] != signs[:, :1]).mean(axis=1)


def kendall_tau(signs: np.ndarray) -> np.ndarray | None:  # (pairs, 1 + D) -> (D,)
    """Kendall's tau-b between the original ranking and that of each draw, in [-1, 1].

    Pairs ordered alike less pairs ordered otherwise, over the geometric mean of the
    numbers of pairs that either ranking orders; without ties, over all pairs. NaN for
    a draw in which all methods are equal; None where there is no pair, or where all
    are equal by the original thresholds.
    """
    original, draws = signs[:, :1], signs[:, 1:]
    if not (ordered := np.count_nonzero(original)):
        return None
    # In int8, the type of the signs, a sum over 128 pairs or more would wrap around.
    alike_less_otherwise = (original * draws).sum(axis=0, dtype=int)
    with np.errstate(invalid="ignore"):
        return alike_less_otherwise / np.sqrt(ordered * np.count_nonzero(draws, axis=0))


def seeds_for_difference(deviation: float, difference: float) -> int:
    """Seeds of each of two methods that show a difference of their means.

    As many as a two-sided t-test of level `LEVEL` needs to find it with probability
    `POWER`: n = 2 (z_level + z_power)^2 s^2 / d^2 + z_level^2 / 4 [Guenther, The
    American Statistician 35, 1981], which is the exact number or one less; at least 2.

    Args:
      deviation: standard deviation over seeds, of either method.
      difference: of the means, above 0, in the unit of the deviation.
    """
    normal = statistics.NormalDist()
    z_level, z_power = normal.inv_cdf(1 - LEVEL / 2), normal.inv_cdf(POWER)
    by_variance = 2 * ((z_level + z_power) * deviation / difference) ** 2
    return max(2, math.ceil(by_variance + z_level**2 / 4))
