"""Anomaly maps of GCAD before they are brought to one scale [P 4]."""

import math
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.types import AnomalyMaps, Array, Features, Images, Tree
from gcad_jax.data.resize import upsample_jnp
from gcad_jax.methods.gcad.networks import FEATURES, Networks, apply_network

SHRINKAGE = 0.01  # of the mean variance, added to each: a covariance is then invertible
WHITENING = "whitening"  # of a branch, among its calibration


def differences(
    nets: Networks,
    frozen: Tree,
    params: Mapping[str, Tree],
    images: Images,
    reconstructed: bool = False,
) -> Mapping[str, Features]:
    """{"A_loc_<p>", "A_glo_<p>"}: what is regressed less its regression, float32.

    (B, h, w, D) each. reconstructed: of A_glo, what U was taught less U's, not E_glo's
    features less those of R_glo.
    """
    x = nets.seen(images)
    U_learned_features = nets.distilled == FEATURES
    # E_loc is the dearest network here: it is computed only where a map needs it.
    needs_E_loc = (
        "A_loc" in nets.branches
        or (reconstructed and U_learned_features)
        or nets.classifier is not None
    )
    features = nets.cache(frozen, images) if needs_E_loc else {}
    features = {name: E_loc.astype(jnp.float32) for name, E_loc in features.items()}
    found = {}
    for p in nets.models:
        if "A_loc" in nets.branches:
            R_loc = apply_network(nets.R_loc(), params[f"R_loc_{p}"], x)
            found[f"A_loc_{p}"] = features[f"E_loc_{p}"] - R_loc
        if "A_glo" in nets.branches:
            of_image = features.get(f"code_{p}", x)
            E_glo = apply_network(nets.E_glo(), params[f"E_glo_{p}"], of_image, None)
            if reconstructed:
                U = apply_network(nets.U(), params[f"U_{p}"], E_glo)
                target = features[f"E_loc_{p}"] if U_learned_features else x
                found[f"A_glo_{p}"] = target - U
            else:
                R_glo = apply_network(nets.R_glo(), params[f"R_glo_{p}"], x)
                found[f"A_glo_{p}"] = E_glo - R_glo
    return found


def squared_distances(
    differences: Features, whitening: Array | None, size: tuple[int, int]
) -> AnomalyMaps:  # (B, h, w, D) -> (B, H, W)
    """Squared norms, at the size of the image.

    whitening: (D, D) by which differences are multiplied first; None for none.
    """
    if whitening is not None:
        differences = differences @ whitening
    distances = jnp.sum(jnp.square(differences), axis=-1)
    if distances.shape[1:] == size:
        return distances
    return upsample_jnp(distances, *size)


def whitenings(batches: Iterable[Mapping[str, Features]]) -> Mapping[str, Array]:
    """By name W (D, D) for which ||d W||^2 is d's Mahalanobis distance from 0, squared.

    Of the second moments of differences over all places of all batches, with a share
    of their mean added to the variances.

    Raises:
      ValueError: if there is no batch.
    """
    sums: dict[str, np.ndarray] = {}
    places: dict[str, int] = {}
    for batch in batches:
        for name, moments in jax.device_get(_summed_moments(batch)).items():
            sums[name] = sums.get(name, 0.0) + moments.astype(np.float64)
            places[name] = places.get(name, 0) + math.prod(batch[name].shape[:3])
    if not sums:
        raise ValueError("whitenings needs at least one batch of differences.")
    return {
        name: jnp.asarray(_whitening(total / places[name]), jnp.float32)
        for name, total in sums.items()
    }


@jax.jit
def _summed_moments(batch: Mapping[str, Features]) -> Mapping[str, Array]:
    full = jax.lax.Precision.HIGHEST
    return {
        name: jnp.einsum("bhwi,bhwj->ij", x, x, precision=full)
        for name, x in batch.items()
    }


def _whitening(moments: np.ndarray) -> np.ndarray:
    # Where all is predicted exactly there is nothing to whiten by.
    mean = float(np.trace(moments)) / len(moments) or 1.0
    covariance = moments + SHRINKAGE * mean * np.eye(len(moments))
    return np.linalg.cholesky(np.linalg.inv(covariance))
