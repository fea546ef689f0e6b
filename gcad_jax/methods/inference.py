"""A detector applied to images: the one path of evaluation, prediction and export."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gcad_jax.methods.base import Detector, Method
from gcad_jax.methods.batches import in_batches
from gcad_jax.types import COMBINED, AnomalyMaps, Images, ImagesU8


def all_maps(method: Method) -> Callable[[Detector, Images], dict[str, AnomalyMaps]]:
    """The combined map under `COMBINED` and every branch under its own name.

    Both come from one traced function, so work that they share is done once.
    """

    def maps(detector: Detector, images: Images) -> dict[str, AnomalyMaps]:
        branches = dict(method.branch_maps(detector, images))
        return {COMBINED: method.anomaly_map(detector, images), **branches}

    return maps


def anomaly_maps(
    method: Method,
    maps: Callable[[Detector, Images], Mapping[str, AnomalyMaps]],
    detectors: Sequence[Detector],
    images: ImagesU8,
) -> Mapping[str, np.ndarray]:
    """Maps of every detector (one a seed) at network size.

    maps: `all_maps`, jitted once for all calls. detectors: on the device.
    images: (N, S, S, C) uint8. Returns name -> (seeds, N, S, S) float32, the branches
    in the method's order and the combined map last.
    """
    per_seed = [
        in_batches(
            functools.partial(maps, detector), images, method.inference_batch_size
        )
        for detector in detectors
    ]
    names = (*method.branches, COMBINED)
    return {name: np.stack([seed[name] for seed in per_seed]) for name in names}
