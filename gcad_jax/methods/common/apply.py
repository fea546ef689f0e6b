"""A compiled function over many images, in batches of one fixed shape."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.types import COMBINED, Images, ImagesU8, Tree
from gcad_jax.data.input.device import to_float
from gcad_jax.methods.base import DetectorState, Method
from gcad_jax.methods.common.image_score import compute_image_scores


class ScoredImages(NamedTuple):
    """What a detector says of B images.

    maps: (B, h, w) by name: the branches, and the combined map under `COMBINED`.
    image_scores: (B,), which decide; `Method.image_scores`.

    Arrays of JAX, as a program computes them, or of NumPy, where they were fetched.
    """

    maps: Mapping[str, Any]
    image_scores: Any


# (frozen, for each seed its learned part and calibration, images) -> one for each seed.
AllMaps = Callable[[Tree, Sequence[tuple[Tree, Tree]], Images], list[ScoredImages]]


def each_batch(
    function: Callable[[Images], Tree], images: ImagesU8, batch_size: int
) -> Iterator[Tree]:
    """What `function` returns for one batch after the other, on the device.

    function: (B, H, W, C) float32 in [0, 1] -> tree of arrays with leading axis B;
        jit it, so that it compiles once: the last batch is filled up by repeating
        its last image, and what it returned for the repeats is dropped.
    images: (N, H, W, C) uint8.
    """
    batch_size = min(batch_size, len(images))
    for start in range(0, len(images), batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), len(images) - 1)
        results = function(to_float(jnp.asarray(images[rows])))
        kept = min(batch_size, len(images) - start)
        if kept < batch_size:
            results = jax.tree.map(lambda leaf, k=kept: leaf[:k], results)
        yield results


def in_batches(
    function: Callable[[Images], Tree], images: ImagesU8, batch_size: int
) -> Tree:
    """`each_batch`, stacked on the host: NumPy arrays with leading axis N."""
    parts = [jax.device_get(part) for part in each_batch(function, images, batch_size)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def all_maps(method: Method) -> AllMaps:
    """For each seed its maps and image scores (`ScoredImages`).

    One traced function for all seeds, maps and scores: what they share, such as the
    features of the frozen E_loc, is the same expression of the same inputs and computed
    once. Jit it once for all calls.
    """

    def score(
        frozen: Tree, seeds: Sequence[tuple[Tree, Tree]], images: Images
    ) -> list[ScoredImages]:
        per_seed = []
        for learned, calibration in seeds:
            detector = DetectorState(frozen, learned, calibration)
            branches = method.branch_maps(detector, images)
            combined = method.anomaly_map(detector, images)
            scores = compute_image_scores(method, detector, images, combined)
            per_seed.append(ScoredImages({COMBINED: combined, **branches}, scores))
        return per_seed

    return score


def score_images(
    method: Method,
    maps: AllMaps,
    detectors: Sequence[DetectorState],
    images: ImagesU8,
) -> ScoredImages:
    """Maps at network size and image scores of every detector (one a seed).

    maps: `all_maps`, jitted. detectors: on the device; they share their frozen part.
    images: (N, h, w, C) uint8. Returns NumPy arrays: maps (seeds, N, h, w) by name, the
    branches in the method's order and the combined map last; scores (seeds, N).
    """
    seeds = tuple((d.learned, d.calibration) for d in detectors)
    score_batch = functools.partial(maps, detectors[0].frozen, seeds)
    per_seed = in_batches(score_batch, images, method.inference_batch_size)
    names = (*method.branches, COMBINED)
    return ScoredImages(
        {name: np.stack([seed.maps[name] for seed in per_seed]) for name in names},
        np.stack([seed.image_scores for seed in per_seed]),
    )
