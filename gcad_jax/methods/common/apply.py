"""A compiled function over many images, in batches of one fixed shape."""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.types import COMBINED, Images, ImagesU8, Tree
from gcad_jax.data.input.device import to_float
from gcad_jax.methods.base import DetectorState, Method, ScoredImages
from gcad_jax.methods.common.image_score import compute_image_scores

IMAGES = "images"  # axis of the devices that share the images of a call
SHARED, ALL = PartitionSpec(IMAGES), PartitionSpec()


# (frozen, for each seed its learned part and calibration, images) -> one for each seed.
AllMaps = Callable[[Tree, Sequence[tuple[Tree, Tree]], Images], list[ScoredImages]]


def each_batch(
    function: Callable[..., Tree],
    images: ImagesU8,
    batch_size: int,
    arguments: tuple[Tree, ...] = (),
    devices: Sequence[jax.Device] = (),
) -> Iterator[Tree]:
    """What `function` returns for one batch after the other, on the device.

    function: (*arguments, images (B, H, W, C) float32 in [0, 1]) -> tree of arrays with
        leading axis B; jit it, so that it compiles once: the last batch is filled up by
        repeating its last image, and what it returned for the repeats is dropped.
    images: (N, H, W, C) uint8.
    batch_size: images that one device gets in one call.
    devices: that share the images, where there are several; each has all arguments. The
        first one otherwise.
    """
    count = max(1, min(len(devices), len(images)))
    if count > 1:
        function, mesh = _shared(function, tuple(devices[:count]))
        arguments = jax.device_put(arguments, NamedSharding(mesh, ALL))
        batch_size = min(batch_size, -(-len(images) // count)) * count
    else:
        batch_size = min(batch_size, len(images))
    for start in range(0, len(images), batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), len(images) - 1)
        batch = images[rows]
        if count > 1:
            batch = jax.device_put(batch, NamedSharding(mesh, SHARED))
        results = function(*arguments, to_float(jnp.asarray(batch)))
        kept = min(batch_size, len(images) - start)
        if kept < batch_size:
            results = jax.tree.map(lambda leaf, k=kept: leaf[:k], results)
        yield results


@functools.lru_cache(maxsize=16)
def _shared(
    function: Callable[..., Tree], devices: tuple[jax.Device, ...]
) -> tuple[Callable[..., Tree], Mesh]:
    """`function` with its last argument shared out over a mesh of the devices."""
    mesh = Mesh(np.asarray(devices), (IMAGES,))

    def on_one_device(arguments: tuple[Tree, ...], images: Images) -> Tree:
        return function(*arguments, images)

    # Not left to the partitioner of XLA: a loop over the images would then run on each
    # device for all of them.
    mapped = jax.shard_map(
        on_one_device,
        mesh=mesh,
        in_specs=(ALL, SHARED),
        out_specs=SHARED,
        check_vma=False,  # nothing crosses the devices
    )
    return jit_here(lambda *inputs: mapped(inputs[:-1], inputs[-1])), mesh


def in_batches(
    function: Callable[..., Tree],
    images: ImagesU8,
    batch_size: int,
    arguments: tuple[Tree, ...] = (),
    devices: Sequence[jax.Device] = (),
) -> Tree:
    """`each_batch`, stacked on the host: NumPy arrays with leading axis N."""
    batches = each_batch(function, images, batch_size, arguments, devices)
    parts = [jax.device_get(part) for part in batches]
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
        states = (DetectorState(frozen, *seed) for seed in seeds)
        return [score_batch(method, state, images) for state in states]

    return score


def score_batch(
    method: Method, detector: DetectorState, images: Images
) -> ScoredImages:
    """Maps and image scores of one seed; for use inside jit."""
    if hasattr(method, "score_all"):
        return method.score_all(detector, images)
    branches = method.branch_maps(detector, images)
    combined = method.anomaly_map(detector, images)
    scores = compute_image_scores(method, detector, images, combined)
    return ScoredImages({COMBINED: combined, **branches}, scores)


def score_images(
    method: Method,
    maps: AllMaps,
    detectors: Sequence[DetectorState],
    images: ImagesU8,
    devices: Sequence[jax.Device] = (),
) -> ScoredImages:
    """Maps at network size and image scores of every detector (one a seed).

    maps: `all_maps`, jitted. detectors: on the device; they share their frozen part.
    images: (N, h, w, C) uint8. devices: that share them, as `each_batch` has it.

    Returns NumPy arrays: maps (seeds, N, h, w) by name, the
    branches in the method's order and the combined map last; scores (seeds, N).
    """
    seeds = tuple((d.learned, d.calibration) for d in detectors)
    arguments = detectors[0].frozen, seeds
    per_seed = in_batches(maps, images, method.inference_batch_size, arguments, devices)
    names = (*method.branches, COMBINED)
    return ScoredImages(
        {name: np.stack([seed.maps[name] for seed in per_seed]) for name in names},
        np.stack([seed.image_scores for seed in per_seed]),
    )
