"""Where the features of P are read, against NumPy and by hand."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.core.errors import UserError
from gcad_jax.models.classifiers.classifier import CLASSIFIERS, Classifier
from gcad_jax.pretraining.distillation import Distillation
from gcad_jax.pretraining.targets import Layers, interpolation
from gcad_jax.pretraining.train import TargetNetwork

DRAW = np.random.default_rng(7)


class Positions(nn.Module):
    """Maps of strides 1, 2 and 4 that hold the pixel each cell stands on."""

    @nn.compact
    def __call__(self, images):
        side = images.shape[1]
        row, column = jnp.mgrid[:side, :side].astype(jnp.float32)
        both = jnp.broadcast_to(
            jnp.stack([row, column], axis=-1)[None], (len(images), side, side, 2)
        )
        maps = {f"by{s}": both[:, ::s, ::s] for s in (1, 2, 4)}
        return maps | {"pooled": both.mean((1, 2)), "seen": images}


NETWORK = Classifier("positions", Positions(), lambda images: images)


def test_maps_are_read_at_the_centers_of_the_patches():
    centers = (3, 7, 8, 14)
    target = Layers(NETWORK, ("by1", "by2", "by4"), centers=centers)
    found = target.features({}, jnp.zeros((2, 17, 17, 3)))
    assert found.shape == (2, 4, 4, target.num_features)
    expected = np.stack(np.meshgrid(centers, centers, indexing="ij"), axis=-1)
    for layer in range(3):
        part = found[1, :, :, 2 * layer : 2 * layer + 2]
        np.testing.assert_allclose(part, expected, atol=1e-5)


def test_weights_are_those_of_numpy_interp():
    values = DRAW.normal(size=9)
    at = np.array([0.0, 3.0, 10.0, 20.0, 32.0]) / 4
    found = interpolation(9, 33, (0, 3, 10, 20, 32)) @ values
    np.testing.assert_allclose(found, np.interp(at, np.arange(9), values), rtol=1e-6)


def test_without_centers_it_is_the_mean_over_the_window():
    windows = DRAW.uniform(size=(2, 6, 6, 3)).astype(np.float32)
    found = Layers(NETWORK, ("seen", "pooled")).features({}, jnp.asarray(windows))
    assert found.shape == (2, 1, 1, 5)
    means = windows.astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(found[:, 0, 0, :3], means, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0, 0, 3:], 2.5, rtol=1e-6)


def test_zoom_keeps_the_centers_where_they_were():
    """Of a horizontal ramp, which enlarging does not change away from the border."""
    ramp = np.broadcast_to(
        np.arange(33.0, dtype=np.float32)[None, None, :, None], (1, 33, 33, 3)
    )
    target = Layers(NETWORK, ("seen",), zoom=2.0, centers=(8, 16, 20))
    found = target.features({}, jnp.asarray(ramp))
    np.testing.assert_allclose(found[0, 1, :, 0], (8, 16, 20), atol=0.3)


@pytest.mark.long
def test_cells_of_mobilenet_stand_where_they_are_read():
    """A gray image with one white pixel moves the cell at that pixel most."""
    network = CLASSIFIERS["mobilenet_v2"]
    params = network.module.init(jax.random.key(0), jnp.zeros((1, 65, 65, 3)))["params"]
    gray = jnp.full((1, 65, 65, 3), 0.5)
    for layer, step in (("stage1", 2), ("stage2", 4)):
        # Batches of one: the spot goes to every cell in turn.
        before = network.maps(params, gray)[layer]
        apart = []
        for cell in range(4, before.shape[1] - 4, 3):
            spot = gray.at[0, cell * step, cell * step].set(1.0)
            moved = jnp.abs(network.maps(params, spot)[layer] - before).sum(-1)[0]
            weights = moved / moved.sum()
            rows = (weights.sum(1) * jnp.arange(len(weights))).sum()
            apart.append(float(rows) - cell)
        assert abs(np.mean(apart)) < 0.35


@pytest.mark.parametrize("settings", [{}, {"grid": 3, "context": 2}])
def test_a_layer_that_is_not_there_is_named(settings):
    wrong = dataclasses.replace(
        Distillation(**settings), target_layers=("by2", "stage9")
    )
    with pytest.raises(UserError, match=r"method\.target_layers.*stage9"):
        TargetNetwork.of(NETWORK, {}, wrong)
