"""Anomaly maps of GCAD before they are brought to one scale [P 4]."""

from collections.abc import Mapping

import jax.numpy as jnp

from gcad_jax.core.types import AnomalyMaps, Array, Images, Tree
from gcad_jax.methods.gcad.networks import FEATURES, Networks, apply_network
from gcad_jax.models.layers.init import imagenet_normalized


def raw_maps(
    nets: Networks,
    frozen: Tree,
    params: Mapping[str, Tree],
    images: Images,
    reconstructed: bool = False,
) -> Tree:
    """{"A_loc_<p>", "A_glo_<p>"}: squared distances (B, S, S), float32 [P 4].

    reconstructed: A_glo is where U misses its target, not where R_glo misses E_glo.
    """
    x = imagenet_normalized(images)
    U_learned_features = nets.distilled == FEATURES
    # E_loc is the dearest network here: it is computed only where a map needs it.
    needs_E_loc = "A_loc" in nets.branches or (reconstructed and U_learned_features)
    features = nets.cache(frozen, images) if needs_E_loc else {}
    features = {name: E_loc.astype(jnp.float32) for name, E_loc in features.items()}
    maps = {}
    for p in nets.P:
        if "A_loc" in nets.branches:
            R_loc = apply_network(nets.R_loc(), params[f"R_loc_{p}"], x)
            maps[f"A_loc_{p}"] = _distance(features[f"E_loc_{p}"], R_loc)
        if "A_glo" in nets.branches:
            E_glo = apply_network(nets.E_glo(), params[f"E_glo_{p}"], x, None)
            if reconstructed:
                U = apply_network(nets.U(), params[f"U_{p}"], E_glo)
                target = features[f"E_loc_{p}"] if U_learned_features else x
                maps[f"A_glo_{p}"] = _distance(target, U)
            else:
                R_glo = apply_network(nets.R_glo(), params[f"R_glo_{p}"], x)
                maps[f"A_glo_{p}"] = _distance(E_glo, R_glo)
    return maps


def _distance(features: Array, regressed: Array) -> AnomalyMaps:
    return jnp.sum(jnp.square(features - regressed), axis=-1)
