"""From pixels to a decision on the device, as exported programs have it."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from gcad_jax.core.types import COMBINED, AnomalyMaps, Array
from gcad_jax.data.input.device import to_float
from gcad_jax.evaluation.threshold import p_values_jnp, threshold
from gcad_jax.inference.detector_file import DetectorFile
from gcad_jax.methods.base import DetectorState
from gcad_jax.methods.common.apply import score_batch
from gcad_jax.methods.common.image_score import map_maximum


def decide_batch(
    stored: DetectorFile, state: DetectorState, pixels: Array, fpr: float
) -> tuple[dict[str, AnomalyMaps], dict[str, Any]]:
    """Maps at network size, by their names, and what is decided; for use inside jit.

    state: the arrays of `stored`. pixels: (B, h, w, C) uint8, of the network's size.
    fpr: false positive rate of images that sets the threshold.

    Returns the maps (B, h, w) float32, the combined one by the name "A", and:
      "score" (B,) float32, "anomalous" (B,) bool, "p_value" (B,) float32,
      "threshold" () float32; where the score that decides is not the maximum of the map
      also "map_maximum" (B,) and "map_threshold" ().
    """
    limit = np.float32(threshold(stored.validation_scores, fpr))
    map_limit = np.float32(threshold(stored.scales[COMBINED].image_scores, fpr))
    scored = score_batch(stored.method, state, to_float(pixels))
    scores = maxima = map_maximum(scored.maps[COMBINED])
    of_map = {}
    # A file without them, of an older version, decides by the maximum.
    if stored.method_scores is not None:
        scores = scored.image_scores
        of_map = {"map_maximum": maxima, "map_threshold": jnp.asarray(map_limit)}
    return dict(scored.maps), {
        "score": scores,
        "anomalous": scores > limit,
        "p_value": p_values_jnp(scores, stored.validation_scores),
        "threshold": jnp.asarray(limit),
        **of_map,
    }
