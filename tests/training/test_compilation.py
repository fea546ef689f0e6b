"""What the compiled programs are said to cost, against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles

from gcad_jax.data.input.augment import Augmentation
from gcad_jax.methods.base import Learned, Phase, TrainState
from gcad_jax.methods.common.optimizers import apply_gradients
from gcad_jax.training.compilation import Program, compile_step
from gcad_jax.training.cost import summary
from gcad_jax.training.step import Resources, StepOptions

SIDE, BATCH, CHANNELS = 16, 8, 16


def matmul(x, kernel):
    """2 B (H W 3) C multiplications and additions."""
    return x.reshape(len(x), -1) @ kernel


def convolution(x, kernel):
    """VALID 3 x 3: 2 B 14 14 9 3 C."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


CASES = {
    "matmul": (matmul, (SIDE * SIDE * 3, 64), 2 * 256 * SIDE * SIDE * 3 * 64, 256),
    "convolution": (convolution, (3, 3, 3, 16), 2 * 8 * 14 * 14 * 9 * 3 * 16, 8),
}


def program(name, num_devices=1, calls=1):
    """A phase whose gradient needs the forward pass once and as much again."""
    function, shape, _, batch = CASES[name]
    optimizers = {"net": doubles.momentum()}

    def update(state, frozen, batch, keys):
        del frozen, keys
        gradient = jax.grad(
            lambda params: jnp.sum(jnp.square(function(batch.images, params["net"])))
        )(state.learned.params)
        return apply_gradients(optimizers, state, gradient), {}

    params = {"net": jnp.zeros(shape)}
    state = TrainState(
        jnp.int32(0),
        Learned(params, {}),
        {"net": optimizers["net"].init(params["net"])},
        jax.random.key(0),
    )
    rows = np.zeros((calls, 1, batch), np.int32)
    return compile_step(
        Phase(name, 10, update),
        Augmentation(),
        StepOptions(),
        doubles.layout_of(num_devices),
        jax.tree.map(lambda x: x[None], state),
        Resources({}, np.zeros((4, SIDE, SIDE, 3), np.uint8), None),
        doubles.layout_of(num_devices).split(rows),
    )


@pytest.mark.parametrize(
    ("name", "num_devices", "calls"),
    [
        ("matmul", 1, 1),
        ("matmul", 1, 5),
        ("matmul", 2, 1),
        ("convolution", 1, 1),
        ("convolution", 1, 5),
    ],
)
def test_flops_are_those_of_one_update_of_the_whole_batch(name, num_devices, calls):
    forward = CASES[name][2]
    flops = program(name, num_devices, calls).flops
    assert flops == pytest.approx(2 * forward, rel=0.05)  # squares, momentum


def test_a_compiler_that_says_nothing_is_borne():
    phase = Phase("silent", 3, doubles.observe)
    silent = Program(phase, None, flops=None, scratch_bytes=None)
    states = doubles.states_of(doubles.Linear(), [0])
    resources = Resources({}, doubles.random_images(2), None)
    lines = summary.cost_lines([silent], states, resources, 4, 1, doubles.layout_of(1))
    assert lines[1].startswith("phase       silent: 3 steps")
    assert "FLOP" not in lines[1]
