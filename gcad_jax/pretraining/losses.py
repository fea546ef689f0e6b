"""Terms of the pretraining's loss, on one device's descriptors (arXiv 1911.02357)."""

from collections.abc import Callable

import jax.numpy as jnp

from gcad_jax.core.axes import mean_over_batch
from gcad_jax.core.types import Array

CORRELATIONS = ("dims_sq", "dims_abs", "dims_signed", "samples_sq")

EPS = 1e-6  # standard deviation that is divided by


def compactness(descriptors: Array, kind: str) -> Array:
    """L_c: correlations that should vanish, summed over pairs; () float32.

    descriptors: (B, d) of this device. Correlations between dimensions are those over
    the whole batch, of all devices; those between patches are within a device.
    """
    # Deviates: the publication sums correlations without square or magnitude, which has
    # no useful minimum; those of the dimensions, squared, are the default.
    if kind == "samples_sq":
        c = _correlation(descriptors.T, lambda x: x)
    else:
        c = _correlation(descriptors, mean_over_batch)
    between = c * (1 - jnp.eye(c.shape[0]))
    powers = {"dims_abs": jnp.abs, "dims_signed": lambda x: x}
    return jnp.sum(powers.get(kind, jnp.square)(between))


def _correlation(samples: Array, mean: Callable[[Array], Array]) -> Array:
    """(n, d) -> (d, d), moments averaged by `mean` too."""
    centered = samples - mean(jnp.mean(samples, axis=0))[None]
    covariance = mean(centered.T @ centered / samples.shape[0])
    std = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance), EPS**2))
    return covariance / (std[:, None] * std[None])


def triplet(anchors: Array, positives: Array, margin: float) -> Array:
    """L_m: each patch nearer to its positive than to any other; () float32.

    anchors, positives: (B, d); row i of both shows the same place. A negative is the
    nearest patch of another row of this device.
    """
    near = jnp.sum(jnp.square(anchors - positives), axis=-1)
    others = jnp.where(jnp.eye(len(anchors), dtype=bool), jnp.inf, 0.0)
    far = []
    for x in (anchors, positives):
        distances = jnp.sum(jnp.square(x[:, None] - anchors[None]), axis=-1)  # (B, B)
        far.append(jnp.min(distances + others, axis=-1))
    return jnp.mean(jnp.maximum(0.0, margin + near - jnp.minimum(*far)))
