"""Images in chains of their own against the whole batch at once."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from gcad_jax.models.classifiers import per_image
from gcad_jax.models.classifiers.per_image import map_images

KERNEL = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 3, 5)), jnp.float32)


def images(count):
    draw = np.random.default_rng(count)
    return jnp.asarray(draw.random((count, 6, 10, 3)), jnp.float32)


def network(x):
    """A convolution, and its mean: a tree, as the methods return."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    maps = jax.lax.conv_general_dilated(
        x, KERNEL, (2, 2), "SAME", dimension_numbers=dimensions
    )
    return {"maps": maps, "deep": (jnp.mean(maps, axis=(1, 2)),)}


def assert_close(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        found,
        expected,
    )


# One chain an image, chains in a loop, a number that nothing divides.
@pytest.mark.parametrize("count", [1, 3, 4, 6, 7])
@pytest.mark.parametrize("cores", [None, 2, 64])
def test_results_are_those_of_the_batch(monkeypatch, count, cores):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    x = images(count)
    assert_close(map_images(network, x), network(x))


@pytest.mark.parametrize("count", [1, 5, 8])
def test_results_in_jit_are_those_of_the_batch(count):
    x = images(count)
    assert_close(jax.jit(lambda x: map_images(network, x))(x), network(x))


def test_chains_share_a_batch_evenly_and_are_at_most_one_a_core():
    for batch in range(1, 20):
        for cores in (1, 2, 3, 5, 64):
            chains = per_image._divisor(batch, cores)
            assert batch % chains == 0
            assert 1 <= chains <= min(cores, per_image.MOST_CHAINS)
    assert per_image._divisor(8, 2) == 2
    assert per_image._divisor(6, 64) == 3
    assert per_image._divisor(7, 64) == 1


def test_an_exported_program_takes_any_batch():
    shape = export.symbolic_shape("b, 6, 10, 3")
    program = export.export(
        jax.jit(lambda x: map_images(network, x)), platforms=("cpu", "cuda", "tpu")
    )(jax.ShapeDtypeStruct(shape, jnp.float32))
    for count in (1, 3, 8):
        x = images(count)
        assert_close(program.call(x), network(x))
