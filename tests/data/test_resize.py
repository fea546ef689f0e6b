"""Sizes that are known only when the images come, against the host's arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from gcad_jax.data.images import zoom
from gcad_jax.data.resize import stretched, zoomed
from gcad_jax.evaluation.map_files import upsample

RNG = np.random.default_rng(0)
SIZE = 32


@pytest.fixture(scope="module")
def resized():
    """Images (B, H, W, 3) to SIZE, and maps of that size to theirs: one program."""
    sides = export.symbolic_shape("b, h, w")
    images = jax.ShapeDtypeStruct((*sides, 3), jnp.uint8)
    maps = jax.ShapeDtypeStruct((sides[0], SIZE, SIZE), jnp.float32)

    def both(images, maps):
        return zoomed(images, SIZE), stretched(maps, *images.shape[1:3])

    return export.export(jax.jit(both))(images, maps).call


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (SIZE, SIZE),  # nothing to do
        (SIZE, 2 * SIZE),  # one side alone
        (1, 1),
        (7, 3),  # both grow
        (97, 5),  # one shrinks, one grows
        (1000, 87),  # tall: the order of the sides tells
        (64, 1009),
        (333, 250),
    ],
)
def test_every_size_as_on_the_host(resized, height, width):
    images = RNG.integers(0, 256, (2, height, width, 3), np.uint8)
    images[1] = (images[1] > 127) * 255  # black and white
    maps = RNG.normal(size=(2, SIZE, SIZE)).astype(np.float32)
    small, large = jax.device_get(resized(images, maps))
    for row in range(2):
        np.testing.assert_array_equal(small[row], zoom(images[row], SIZE))
        want = upsample(maps[row], height, width)
        np.testing.assert_allclose(large[row], want, atol=1e-5)


def test_the_largest_side_that_is_promised():
    """32,768 pixels to 8, the smallest network image."""
    row = RNG.integers(0, 256, (1, 32768, 1), np.uint8)
    small = jax.device_get(jax.jit(zoomed, static_argnums=1)(row[None], 8))[0]
    np.testing.assert_array_equal(small, zoom(row, 8))
