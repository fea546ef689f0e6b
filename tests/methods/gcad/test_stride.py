"""GCAD on every second pixel: what its networks are taught, see and give."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers import doubles, runs

from gcad_jax.core.errors import UserError
from gcad_jax.data.input.device import to_float
from gcad_jax.methods.base import DetectorState, Learned

SIDE = 64


@pytest.fixture(scope="module")
def method():
    return runs.method(image_size=SIDE, stride=2, unet_depth=2)


@pytest.fixture(scope="module")
def images():
    return doubles.random_images(2, side=SIDE)


@pytest.fixture(scope="module")
def frozen(method, images):
    return method.prepare(images)


def test_a_place_has_the_mean_of_its_four_pixels(method, frozen, images):
    x = to_float(images)
    every_pixel = dataclasses.replace(method, stride=1).cache(frozen, x)["E_loc_17"]
    (E_loc,) = method.cache(frozen, x).values()
    by_hand = np.zeros((2, SIDE // 2, SIDE // 2, 4))
    for row in (0, 1):
        for column in (0, 1):
            by_hand += np.asarray(every_pixel, np.float64)[:, row::2, column::2] / 4
    np.testing.assert_allclose(E_loc, by_hand, atol=1e-5)


def test_networks_compute_at_half_the_side_and_maps_have_the_whole(
    method, frozen, images
):
    params = jax.eval_shape(method.init, jax.random.key(0)).params
    first = params["R_loc_17"]["down0"]["conv1"]["kernel"]
    assert first.shape[:3] == (3, 3, 3 * 2 * 2)  # the pixels of a place, stacked
    learned = Learned(jax.jit(method.init)(jax.random.key(0)).params, {})
    calibration = method.calibrate(frozen, learned, images)
    detector = DetectorState(frozen, learned, calibration)
    found = jax.eval_shape(method.branch_maps, detector, to_float(images))
    assert {name: x.shape for name, x in found.items()} == {
        branch: (2, SIDE, SIDE) for branch in ("A_loc", "A_glo")
    }


def test_the_image_must_be_halved_by_E_glo_after_the_stride(method):
    method.validate()
    dataclasses.replace(method, image_size=96, branches=("A_loc",)).validate()
    with pytest.raises(UserError, match=r"image_size is 96.*a multiple of 64"):
        dataclasses.replace(method, image_size=96).validate()
