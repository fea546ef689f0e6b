import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.data.input.device import gather, to_device, to_float

IMAGES = np.arange(256, dtype=np.uint8).repeat(3).reshape(4, 8, 8, 3)


def test_the_device_holds_the_bytes():
    array = to_device(IMAGES)
    assert array.dtype == jnp.uint8
    assert array.nbytes == IMAGES.nbytes
    np.testing.assert_array_equal(array, IMAGES)


def test_every_gray_level_has_its_value():
    values = np.asarray(jax.jit(to_float)(IMAGES))
    assert values.dtype == np.float32
    assert values.min() == 0.0
    assert values.max() == 1.0
    np.testing.assert_allclose(values, IMAGES.astype(np.float64) / 255, atol=6e-8)


def test_gather_takes_rows_in_order_and_repeats():
    indices = np.array([3, 0, 3], np.int32)
    batch = jax.jit(gather)(to_device(IMAGES), indices)
    assert batch.shape == (3, 8, 8, 3)
    assert batch.dtype == jnp.float32
    np.testing.assert_allclose(batch, IMAGES[[3, 0, 3]] / 255.0, atol=6e-8)


@pytest.mark.parametrize("wrong", [IMAGES.astype(np.float32), IMAGES[0]])
def test_anything_but_image_bytes_is_refused(wrong):
    with pytest.raises(ValueError, match="expected uint8 of shape"):
        to_device(wrong)
