"""Raw maps to A: normalized on validation images, added, and weighed."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.types import AnomalyMaps, Array, Tree
from gcad_jax.data.resize import upsample_jnp
from gcad_jax.methods.common.calibration import EPS
from gcad_jax.models.classifiers.levels import Moments

LOCAL, GLOBAL = "A_loc", "A_glo"

Pairs = Mapping[str, Mapping[str, Array]]  # mu and sigma by name


def level_moments(frozen: Tree) -> tuple[Moments, ...]:
    """Of each level, finest first."""
    return tuple(
        Moments(**frozen["moments"][name])
        for name in sorted(frozen["moments"])
        if name.startswith("level_")
    )


def gallery_of(frozen: Tree) -> tuple[Callable[[Array], Array], ...]:
    """For each level what gives standardized training images of row numbers."""
    gallery = (frozen["gallery"][name] for name in sorted(frozen["gallery"]))

    def reader(moments: Moments, level: Array) -> Callable[[Array], Array]:
        return lambda rows: moments.standardize(level[rows])

    return tuple(map(reader, level_moments(frozen), gallery))


def by_level(levels: Sequence[Array]) -> dict[str, Array]:
    """By the names "level_0", ..., finest first."""
    return {f"level_{i}": level for i, level in enumerate(levels)}


def moments_of(values: np.ndarray, floor: float = 0.0) -> dict[str, Array]:
    """Mean and deviation of all values; the deviation is at least `floor`."""
    values = np.asarray(values, np.float64)
    sigma = max(float(values.std()), floor)
    return {"mu": jnp.float32(values.mean()), "sigma": jnp.float32(sigma)}


def normalize(values: Array, pair: Mapping[str, Array]) -> Array:
    """Mean 0 and deviation 1 on the validation images."""
    return (values - pair["mu"]) / jnp.maximum(pair["sigma"], EPS)


def sum_of_levels(maps: Mapping[str, AnomalyMaps], pairs: Pairs) -> AnomalyMaps:
    """The local branch: each level normalized, on the finest grid, added; (B, h, w)."""
    names = sorted(name for name in maps if name.startswith("level_"))
    shape = maps[names[0]].shape
    levels = (normalize(jnp.asarray(maps[name]), pairs[name]) for name in names)
    resized = [upsample_jnp(level, *shape[1:]) for level in levels]
    return sum(resized[1:], resized[0])


def combine(branches: Mapping[str, AnomalyMaps], w: Array) -> AnomalyMaps:
    """W A_glo + (1 - w) A_loc."""
    return w * branches[GLOBAL] + (1 - w) * branches[LOCAL]


@functools.partial(jax.jit, static_argnames="size")
def upsampled_maxima(maps: AnomalyMaps, size: tuple[int, int]) -> Array:  # (V,)
    """The maximum of each map (V, h, w) once it has the size of the input, (H, W).

    One after the other, so that one map of that size is held.
    """
    return jax.lax.map(lambda x: jnp.max(upsample_jnp(x, *size)), maps)
