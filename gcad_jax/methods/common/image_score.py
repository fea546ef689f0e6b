"""The score of an image, which decides whether it is anomalous.

It is the maximum of the anomaly map, unless the method gives another. Methods of others
that know nothing of it (version 0.1.0) have the maximum.
"""

import jax.numpy as jnp

from gcad_jax.core.types import MAP_MAXIMUM, AnomalyMaps, Images, ImageScores
from gcad_jax.methods.base import DetectorState, Method

OWN = "image score of the method"  # of a method that does not name its own


def map_maximum(combined: AnomalyMaps) -> ImageScores:
    """The maximum of each map; (B, h, w) -> (B,)."""
    return jnp.max(combined, axis=(1, 2))


def image_score_name(method: Method) -> str:
    """What the image scores of a method are; `MAP_MAXIMUM` where it gives none."""
    if not hasattr(method, "image_scores"):
        return MAP_MAXIMUM
    return getattr(method, "image_score_name", OWN)


def has_own_score(method: Method) -> bool:
    """Whether the image scores of a method are others than the maximum of its map."""
    return image_score_name(method) != MAP_MAXIMUM


def compute_image_scores(
    method: Method, detector: DetectorState, images: Images, combined: AnomalyMaps
) -> ImageScores:
    """`Method.image_scores`; the maximum of the map where a method gives none."""
    if not has_own_score(method):
        return map_maximum(combined)
    return method.image_scores(detector, images, combined)
