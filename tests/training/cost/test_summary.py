"""The summary against counts by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from helpers import doubles

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL, TestImage
from gcad_jax.methods.base import Learned, Phase, TrainState
from gcad_jax.training.compilation import Program
from gcad_jax.training.cost import summary
from gcad_jax.training.step import Resources

MIB = 2**20


def two_seeds():
    """A network of 1000 * 1024 and one of 24 parameters for each of two seeds."""
    params = {"big": jnp.zeros((2, 1000, 1024)), "small": jnp.zeros((2, 24))}
    moments = {name: {"mu": x, "nu": x} for name, x in params.items()}
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    return TrainState(jnp.zeros(2, jnp.int32), Learned(params, {}), moments, keys)


def resources():
    """64 images of 128 x 128 x 4 bytes = 4 MiB; a frozen part of 1 MiB."""
    frozen = {"E_loc": jnp.zeros((512, 512))}
    return Resources(frozen, np.zeros((64, 128, 128, 4), np.uint8), None)


def test_parameters_are_those_of_one_seed():
    lines = summary.model_lines(two_seeds(), resources(), 2)
    assert lines[0] == "frozen      262,144 parameters"
    assert lines[1] == "trained     1,024,024 parameters a seed"
    assert [line.split() for line in lines[2:]] == [
        ["big", "1,024,000"],
        ["small", "24"],
    ]


def test_memory_and_flops():
    phases = [
        Phase(name, steps, doubles.observe) for name, steps in (("a", 1000), ("b", 20))
    ]
    programs = [
        Program(phases[0], None, 2.5e9, 3 * MIB),
        Program(phases[1], None, 1e12, 7 * MIB),
    ]
    lines = summary.cost_lines(
        programs, two_seeds(), resources(), 8, 2, doubles.layout_of(1)
    )
    assert lines[0] == "layout      2 seeds, batch 8 over 1 of 4 cpu devices"
    assert lines[1] == "phase       a: 1,000 steps, 2.5 GFLOP a step"
    assert lines[2] == "phase       b: 20 steps, 1,000.0 GFLOP a step"
    # 2 seeds x (parameters + 2 moments) x 4 bytes = 23.4 MiB (23.44 + steps and keys);
    # 4 + 1 MiB; the larger working memory: 35.4 in all.
    assert lines[3] == (
        "memory      about 35 MiB a device: state 23, data and frozen 5, working 7"
    )


def test_data_counts():
    kinds = [GOOD, GOOD, STRUCTURAL, LOGICAL, LOGICAL, LOGICAL]
    images = tuple(TestImage(f"{i}", kind, 9, 9) for i, kind in enumerate(kinds))
    category = dataclasses.replace(
        doubles.category(), test_images=images, notes=("a note",)
    )
    assert summary.data_lines(category) == [
        "data        double/linear, zoomed to 4 x 4",
        "            train 18, validation 3, test 2 good, 1 structural, 3 logical",
        "            a note",
    ]
