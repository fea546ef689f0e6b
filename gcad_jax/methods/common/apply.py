"""A compiled function over many images, in batches of one fixed shape."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.types import COMBINED, AnomalyMaps, Images, ImagesU8, Tree
from gcad_jax.data.input.device import to_float
from gcad_jax.methods.base import DetectorState, Method

# (frozen, for each seed its learned part and calibration, images) -> a tree of maps
# for each seed.
AllMaps = Callable[
    [Tree, Sequence[tuple[Tree, Tree]], Images], list[dict[str, AnomalyMaps]]
]


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
    """For each seed the combined map under `COMBINED` and each branch under its name.

    One traced function for all seeds and maps: what they share, such as the features
    of the frozen E_loc, is the same expression of the same inputs and computed once.
    Jit it once for all calls.
    """

    def maps(
        frozen: Tree, seeds: Sequence[tuple[Tree, Tree]], images: Images
    ) -> list[dict[str, AnomalyMaps]]:
        per_seed = []
        for learned, calibration in seeds:
            detector = DetectorState(frozen, learned, calibration)
            branches = method.branch_maps(detector, images)
            combined = method.anomaly_map(detector, images)
            per_seed.append({COMBINED: combined, **branches})
        return per_seed

    return maps


def anomaly_maps(
    method: Method,
    maps: AllMaps,
    detectors: Sequence[DetectorState],
    images: ImagesU8,
) -> Mapping[str, np.ndarray]:
    """Maps of every detector (one a seed) at network size.

    maps: `all_maps`, jitted. detectors: on the device; they share their frozen part.
    images: (N, S, S, C) uint8. Returns name -> (seeds, N, S, S) float32, the branches
    in the method's order and the combined map last.
    """
    seeds = tuple((d.learned, d.calibration) for d in detectors)
    maps_of_batch = functools.partial(maps, detectors[0].frozen, seeds)
    per_seed = in_batches(maps_of_batch, images, method.inference_batch_size)
    names = (*method.branches, COMBINED)
    return {name: np.stack([seed[name] for seed in per_seed]) for name in names}
