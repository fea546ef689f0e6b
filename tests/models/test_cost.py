"""Multiply-adds of the full-size networks, for one image of 256 x 256 pixels."""

import jax
import jax.numpy as jnp
import pytest
from helpers.costs import multiply_adds

from gcad_jax.models.global_encoder import GlobalEncoder
from gcad_jax.models.layers.convolution import plain_convolutions
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.models.unet import UNet
from gcad_jax.models.upsampler import Upsampler


@pytest.mark.parametrize(
    ("net", "channels", "inputs", "expected", "tolerance"),
    [
        (PatchDescriptor(17), 3, (), 201.9e9, 0.02),
        (PatchDescriptor(33), 3, (), 115.5e9, 0.02),
        (PatchDescriptor(65), 3, (), 175.2e9, 0.02),
        (UNet(128), 3, (), 48.70e9, 0.02),
        (UNet(10), 3, (), 48.21e9, 0.02),
        # Its transposed convolutions compute one more row and column.
        (GlobalEncoder(), 3, (jnp.ones(5),), 0.388e9, 0.03),
        (Upsampler(), 10, (), 1.65e9, 0.02),
    ],
    ids=["E_loc 17", "E_loc 33", "E_loc 65", "R_loc", "R_glo", "E_glo", "U"],
)
def test_cost_at_256_pixels(net, channels, inputs, expected, tolerance):
    x = jax.ShapeDtypeStruct((1, 256, 256, channels), jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), x, *inputs)
    with plain_convolutions():
        traced = jax.make_jaxpr(net.apply)(variables, x, *inputs)
    found = multiply_adds(traced.jaxpr)
    assert found == pytest.approx(expected, rel=tolerance)
