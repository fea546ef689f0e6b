"""Descriptors against the maps of the network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles, small_classifier

from gcad_jax.models.classifiers.classifier import classifier
from gcad_jax.models.classifiers.descriptors import (
    DEEP,
    LEVELS,
    STRIDE,
    Describer,
)

ARCH = "efficientnet_lite0"


@pytest.mark.parametrize("arch", LEVELS)
def test_the_finest_grid_is_at_the_stride_and_no_level_is_finer(arch):
    """Of every network, and of images that are no squares; nothing is computed."""
    network = classifier(arch)
    x = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    params = jax.eval_shape(network.module.init, jax.random.key(0), x)["params"]
    described = jax.eval_shape(Describer(arch), params, x)
    shapes = [level.shape[1:3] for level in described.levels]
    assert len(shapes) == len(LEVELS[arch])
    assert shapes[0] == (64 // STRIDE, 96 // STRIDE)
    assert shapes == sorted(shapes, reverse=True)
    assert described.pooled.shape[0] == 2
    assert described.pooled.ndim == 2


def test_descriptors_are_maps_of_the_network_and_their_means(monkeypatch):
    small_classifier.stand_in(monkeypatch, ARCH)
    network = classifier(ARCH)
    images = jnp.asarray(doubles.random_images(2, side=32) / 255.0, jnp.float32)
    params = jax.jit(network.module.init)(jax.random.key(0), images)["params"]
    described, maps = jax.jit(lambda p, x: (Describer(ARCH)(p, x), network.maps(p, x)))(
        params, images
    )
    finest, *others = (maps[name] for name in LEVELS[ARCH])
    finest = np.asarray(finest).reshape(2, 4, 2, 4, 2, -1).mean(axis=(2, 4))
    for found, expected in zip(described.levels, [finest, *others], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    deep = [np.asarray(maps[name]).mean(axis=(1, 2)) for name in DEEP[ARCH]]
    expected = np.concatenate(deep, axis=1)
    np.testing.assert_allclose(described.pooled, expected, rtol=1e-3, atol=1e-4)
