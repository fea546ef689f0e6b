"""The loss of GCAD, Eq. 5: L_loc (Eq. 2), L_kd (Eq. 3 or 6) and L_glo (Eq. 4)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from gcad_jax.core.types import Array, Images, Metrics, Tree
from gcad_jax.methods.gcad.networks import FEATURES, Networks, apply_network


def R_glo_weight(
    step: Array, num_steps: int, start: float, ramp: float
) -> Array | float:
    """How much of L_glo's gradient E_glo gets at a step: 0 to 1.

    start, ramp: where it begins to rise and how long it does, fractions of `num_steps`.
    """
    if not ramp:
        return 1.0
    # Deviates: where few steps at a high rate stand in for many at a low one, the
    # untrained R_glo would pull E_glo to a constant from which it does not recover.
    return jnp.clip((step / num_steps - start) / ramp, 0.0, 1.0)


def total_loss(
    nets: Networks,
    params: Mapping[str, Tree],
    features: Mapping[str, Array],
    images: Images,
    skips: Array | None,
    weight: Array | float = 1.0,
) -> tuple[Array, Metrics]:
    """Eq. 5, summed over the models, one for each p: they share nothing.

    params: of the networks in training; a term without its networks is left out.
    features: {"E_loc_<p>": (B, S, S, d_loc)}, and {"code_<p>": (B, g)} where E_glo is
        given its code. skips: (5,) or None, faded.
    weight: factor on the gradient of L_glo into E_glo, not on its value.
    """
    x = nets.seen(images)
    metrics: Metrics = {}  # what is logged; only `terms` are optimized
    terms: list[Array] = []
    for p in nets.models:
        E_loc = features[f"E_loc_{p}"].astype(jnp.float32)
        if f"R_loc_{p}" in params:
            R_loc = apply_network(nets.R_loc(), params[f"R_loc_{p}"], x)
            L_loc = metrics[f"L_loc_{p}"] = _mean_square(E_loc - R_loc)  # Eq. 2
            terms.append(L_loc)
        if f"E_glo_{p}" not in params:
            continue
        of_image = features.get(f"code_{p}", x)
        E_glo = apply_network(nets.E_glo(), params[f"E_glo_{p}"], of_image, skips)
        U = apply_network(nets.U(), params[f"U_{p}"], E_glo)
        target = E_loc if nets.distilled == FEATURES else x
        L_kd = metrics[f"L_kd_{p}"] = _mean_square(target - U)  # Eq. 3, Eq. 6
        terms.append(L_kd)
        if f"R_glo_{p}" in params:
            R_glo = apply_network(nets.R_glo(), params[f"R_glo_{p}"], x)
            # Its gradient reaches E_glo too, which is to be easily matched [P 4]; the
            # weight is on the gradient alone: the value is that of E_glo.
            matched = weight * E_glo + (1 - weight) * jax.lax.stop_gradient(E_glo)
            L_glo = metrics[f"L_glo_{p}"] = _mean_square(matched - R_glo)  # Eq. 4
            terms.append(L_glo)
    return jnp.sum(jnp.stack(terms)), metrics  # Eq. 5


def _mean_square(difference: Array) -> Array:
    # Deviates: mean over pixels and batch, where Eqs. 2-4 sum; only the weight of the
    # L2 decay against the data term depends on it.
    return jnp.mean(jnp.square(difference))
