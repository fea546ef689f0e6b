"""The training images as descriptors: which of them, and where they lie."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.axes import accelerators
from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.types import Array, Images, ImagesU8, Tree
from gcad_jax.methods.closed_form.local_branch import greedy_k_center
from gcad_jax.methods.common.apply import each_batch, in_batches
from gcad_jax.methods.common.calibration import EPS
from gcad_jax.models.classifiers.descriptors import Described, Describer

STORED = jnp.float16  # of the descriptors in a gallery
MOST_BYTES = 10**9  # of the descriptors of all training images


def choose_images(
    describer: Describer, params: Tree, images: ImagesU8, most: int, batch_size: int
) -> ImagesU8:
    """All images (N, H, W, 3), or as many of them as cover the others best.

    most: images; fewer where the descriptors of so many take more than MOST_BYTES. All
    are described once, and those that `greedy_k_center` takes by their pooled features
    are kept, in their order: time grows with N, memory does not.
    """
    shape = jax.ShapeDtypeStruct((1, *images.shape[1:]), jnp.float32)
    levels = jax.eval_shape(describer, params, shape).levels
    of_one = sum(level.size for level in levels) * jnp.dtype(STORED).itemsize
    most = max(2, min(most, MOST_BYTES // of_one))
    if len(images) <= most:
        return images
    devices = accelerators()
    pooled = jit_here(lambda params, x: describer(params, x).pooled, devices)
    features = in_batches(pooled, images, batch_size, (params,), devices)
    standardized = (features - features.mean(axis=0)) / (features.std(axis=0) + EPS)
    choose = functools.partial(greedy_k_center, count=most)
    return images[np.sort(jit_here(choose)(standardized))]


def describe_images(
    describer: Describer, params: Tree, images: ImagesU8, batch_size: int
) -> tuple[np.ndarray, tuple[Array, ...]]:
    """Pooled features (N, F), and each level (N, h, w, C) float16, finest first."""
    pooled: list[np.ndarray] = []
    levels: list[np.ndarray] = []

    # The network as an argument: constants of its size take long to compile.
    def describe(params: Tree, x: Images) -> Described:
        levels, of_image = describer(params, x)
        return Described(tuple(level.astype(STORED) for level in levels), of_image)

    start, devices = 0, accelerators()
    describe_here = jit_here(describe, devices)
    for batch in each_batch(describe_here, images, batch_size, (params,), devices):
        described = jax.device_get(batch)
        pooled.append(described.pooled)
        # Written in place: lists that are stacked at the end take twice the memory.
        levels = levels or [
            np.empty((len(images), *x.shape[1:]), x.dtype) for x in described.levels
        ]
        for level, x in zip(levels, described.levels, strict=True):
            level[start : start + len(x)] = x
        start += len(described.pooled)
    return np.concatenate(pooled), tuple(map(jnp.asarray, levels))
