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


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_devices_that_share_the_images_give_the_same(count, batch_size):
    """Also where there are fewer images than places, and by a loop over the images."""
    devices = jax.devices()[:count]

    @jax.jit
    def function(arguments, x):
        sums = jax.lax.map(lambda image: jnp.sum(image * arguments["factor"]), x)
        return {"sum": sums, "image": x}

    for images in (IMAGES, IMAGES[:1], IMAGES[:3]):
        arguments = ({"factor": jnp.float32(2)},)
        shared = in_batches(function, images, batch_size, arguments, devices)
        alone = in_batches(lambda x: function(*arguments, x), images, batch_size)  # noqa: B023
        np.testing.assert_array_equal(shared["image"], alone["image"])
        np.testing.assert_allclose(shared["sum"], alone["sum"], rtol=1e-6)


def test_each_device_gets_images_of_its_own():
    """Not all of them, as XLA's partitioner would do for a loop."""
    shapes = []

    @jax.jit
    def function(x):
        shapes.append(x.shape)
        return x[:, 0, 0, 0]

    parts = list(each_batch(function, IMAGES, 2, devices=jax.devices()[:2]))
    assert [len(part) for part in parts] == [4, 3]
    assert set(shapes) == {(2, 2, 2, 3)}
    assert len(parts[0].sharding.device_set) == 2
