"""Bytes between devices, against counts by hand and the lowered program."""

import math
import re

import jax
import numpy as np
import pytest
from helpers import doubles
from methods.test_protocol import CASES

from gcad_jax.core.axes import BATCH
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.methods.base import Phase
from gcad_jax.training import loop
from gcad_jax.training.cost.communication import crossing_bytes
from gcad_jax.training.cost.estimate import measure_cost
from gcad_jax.training.input_pipeline import InMemory
from gcad_jax.training.options import RunContext
from gcad_jax.training.step import StepOptions, make_step

NUMBERS = 48 * 3  # of each network of `Linear`
# The first phase is the longer one: one network and its loss.
LINE = "crossing    0.00058 MB of each device in an update of a seed (fast)"


def counted(phase, states, resources):
    fed = jax.ShapeDtypeStruct((1, 1, 2), np.int32)
    return crossing_bytes(phase, doubles.JITTERED, states, resources, fed)


@pytest.fixture(scope="module")
def method():
    return doubles.Linear()


@pytest.fixture(scope="module")
def parts(method):
    return (
        doubles.states_of(method, [0]),
        doubles.resources_of(method, doubles.random_images(4)),
    )


def test_gradients_and_losses_of_the_networks_in_training(method, parts):
    fast, both = method.phases(4)
    assert counted(fast, *parts) == 4 * (NUMBERS + 1)
    assert counted(both, *parts) == 2 * 4 * (NUMBERS + 1)


def test_branches_count_as_the_dearest_and_loops_as_often_as_they_run(method, parts):
    def update(state, frozen, batch, keys):
        del frozen, keys
        x = batch.images.sum()

        def turn(carry, _):
            return carry + jax.lax.psum(x, BATCH), None

        total, _ = jax.lax.scan(turn, x * 0, None, length=5)
        wide = np.ones(7, np.float32)
        total += jax.lax.cond(
            state.step > 0,
            lambda: jax.lax.psum(x * wide, BATCH).sum(),
            lambda: jax.lax.psum(x, BATCH),
        )
        return state, {"L": total}

    assert counted(Phase("a", 1, update), *parts) == 4 * (5 + 7)


@pytest.mark.parametrize("name", ["AE", "MNAD"])
def test_equals_the_all_reduces_that_the_compiler_is_given(name):
    """Those of the program of two devices, read off its text."""
    method = CASES[name].method
    phase = method.phases(1)[-1]
    images = doubles.random_images(4, side=32)[..., : method.channels]
    states = doubles.states_of(method, [0])
    resources = doubles.resources_of(method, images)
    layout = doubles.layout_of(2)
    rows = layout.split(np.zeros((1, 1, 2), np.int32))
    mapped = layout.map(make_step(phase, Augmentation(), StepOptions()))
    text = mapped.lower(states, resources, rows).as_text()
    exchanged = 0
    of_one = r"stablehlo.all_reduce.*?\n.*?\}\) :? ?\(([^)]*)\)"
    for shapes in re.findall(of_one, text, re.S):
        for shape in re.findall(r"tensor<([^>]*)>", shapes):
            *sides, kind = shape.split("x")
            exchanged += math.prod(map(int, sides)) * {"f32": 4, "i32": 4}[kind]
    fed = jax.ShapeDtypeStruct((1, 1, 1), np.int32)
    assert crossing_bytes(phase, Augmentation(), states, resources, fed) == exchanged


def test_a_training_on_several_devices_says_it(tmp_path):
    said = []
    loop.train(
        doubles.Linear(epochs=3),
        doubles.category(doubles.IDENTITY),
        RunContext((0, 7), tmp_path, doubles.options(2), {}, said.append),
    )
    assert LINE in said


def test_a_plan_says_it_too():
    method, category = doubles.Linear(epochs=3), doubles.category(doubles.IDENTITY)
    pipeline, frozen = (
        InMemory(method, category, (0, 7)),
        method.prepare(category.train),
    )
    cost = measure_cost(method, pipeline, frozen, (0, 7), doubles.options(2))
    assert LINE in cost.lines
