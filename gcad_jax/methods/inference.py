"""Detectors applied to images: the one path of evaluation, prediction and export."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gcad_jax.methods.base import Detector, Method
from gcad_jax.methods.batches import in_batches
from gcad_jax.types import COMBINED, AnomalyMaps, Images, ImagesU8, Tree

# (frozen, for each seed its learned part and calibration, images) -> a tree of maps
# for each seed.
AllMaps = Callable[
    [Tree, Sequence[tuple[Tree, Tree]], Images], list[dict[str, AnomalyMaps]]
]


def all_maps(method: Method) -> AllMaps:
    """For each seed the combined map under `COMBINED` and each branch under its name.

    One traced function for all seeds and maps: what they share, such as the features
    of the frozen E_loc, is the same expression of the same inputs and computed once.
    Jit it once for all calls.
    """

    def of_one(detector: Detector, images: Images) -> dict[str, AnomalyMaps]:
        branches = dict(method.branch_maps(detector, images))
        return {COMBINED: method.anomaly_map(detector, images), **branches}

    def maps(
        frozen: Tree, seeds: Sequence[tuple[Tree, Tree]], images: Images
    ) -> list[dict[str, AnomalyMaps]]:
        return [
            of_one(Detector(frozen, learned, calibration), images)
            for learned, calibration in seeds
        ]

    return maps


def anomaly_maps(
    method: Method,
    maps: AllMaps,
    detectors: Sequence[Detector],
    images: ImagesU8,
) -> Mapping[str, np.ndarray]:
    """Maps of every detector (one a seed) at network size.

    maps: `all_maps`, jitted. detectors: on the device; they share their frozen part.
    images: (N, S, S, C) uint8. Returns name -> (seeds, N, S, S) float32, the branches
    in the method's order and the combined map last.
    """
    seeds = tuple((d.learned, d.calibration) for d in detectors)
    per_seed = in_batches(
        functools.partial(maps, detectors[0].frozen, seeds),
        images,
        method.inference_batch_size,
    )
    names = (*method.branches, COMBINED)
    return {name: np.stack([seed[name] for seed in per_seed]) for name in names}
