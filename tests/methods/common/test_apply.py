"""Many images in batches of one shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.methods.common.apply import each_batch, in_batches

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 2, 2, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 8])
def test_every_image_once_in_order(batch_size):
    result = in_batches(lambda x: {"sum": x.sum(axis=(1, 2, 3))}, IMAGES, batch_size)
    expected = (IMAGES / 255.0).sum(axis=(1, 2, 3))
    assert isinstance(result["sum"], np.ndarray)
    np.testing.assert_allclose(result["sum"], expected, rtol=1e-5)


def test_all_batches_have_one_shape_so_that_one_program_is_compiled():
    traces = []

    @jax.jit
    def function(x):
        traces.append(x.shape)
        assert x.dtype == jnp.float32
        return x[:, 0, 0, 0]

    parts = list(each_batch(function, IMAGES, 3))
    assert traces == [(3, 2, 2, 3)]
    assert [len(part) for part in parts] == [3, 3, 1]


def test_fewer_images_than_a_batch_are_not_filled_up():
    shapes = []
    for part in each_batch(lambda x: shapes.append(x.shape) or x, IMAGES[:2], 8):
        assert len(part) == 2
    assert shapes == [(2, 2, 2, 3)]
