"""Scores brought to one scale: mean 0 and deviation 1 on good validation images."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from gcad_jax.core.types import AnomalyMaps, Tree

EPS = 1e-12  # deviation that is divided by: 0 for a map that is constant


def moments(maps: Mapping[str, np.ndarray]) -> Tree:
    """{name: {"mu": (), "sigma": ()}} over all pixels of all images [P 4].

    maps: of good images, (V, S, S) each.
    """
    return {
        name: {
            "mu": jnp.float32(values.mean(dtype=np.float64)),
            "sigma": jnp.float32(values.std(dtype=np.float64)),
        }
        for name, values in maps.items()
    }


def mean_over_scales(
    maps: Mapping[str, AnomalyMaps], calibration: Tree, name: str, P: Sequence[int]
) -> AnomalyMaps:
    """The maps "<name>_<p>", each normalized by its moments, averaged over P [P 4]."""
    first, *others = (
        _normalize(maps[f"{name}_{p}"], calibration[f"{name}_{p}"]) for p in P
    )
    return sum(others, first) / len(P)


def _normalize(scores: AnomalyMaps, calibration: Tree) -> AnomalyMaps:
    return (scores - calibration["mu"]) / jnp.maximum(calibration["sigma"], EPS)
