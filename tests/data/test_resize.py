"""Sizes that are known only when the images come, against the host's arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from gcad_jax.data.resize import resize_image, resize_images_jnp, upsample, upsample_jnp

RNG = np.random.default_rng(0)
SIZE = 32


@pytest.fixture(scope="module")
def resized():
    """Images (B, H, W, 3) to SIZE, and maps of that size to theirs: one program."""
    sides = export.symbolic_shape("b, h, w")
    images = jax.ShapeDtypeStruct((*sides, 3), jnp.uint8)
    maps = jax.ShapeDtypeStruct((sides[0], SIZE, SIZE), jnp.float32)

    def both(images, maps):
        return resize_images_jnp(images, SIZE), upsample_jnp(maps, *images.shape[1:3])

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
        np.testing.assert_array_equal(small[row], resize_image(images[row], SIZE))
        want = upsample(maps[row], height, width)
        np.testing.assert_allclose(large[row], want, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (8, 33)])
@pytest.mark.parametrize("shape", [(50, 200), (200, 50), (64, 96), (1, 7)])
def test_other_than_squares_as_on_the_host(size, shape):
    images = RNG.integers(0, 256, (2, *shape, 3), np.uint8)
    small = jax.device_get(resize_images_jnp(images, size))
    assert small.shape == (2, *size, 3)
    for row in range(2):
        np.testing.assert_array_equal(small[row], resize_image(images[row], size))


def test_a_pair_is_height_and_width():
    image = RNG.integers(0, 256, (40, 70, 3), np.uint8)
    wide = resize_image(image, (16, 32))
    assert wide.shape == (16, 32, 3)
    turned = resize_image(np.ascontiguousarray(image.swapaxes(0, 1)), (32, 16))
    # Sides are resized in one order, so values may be rounded otherwise.
    assert np.abs(turned.swapaxes(0, 1).astype(int) - wide).max() <= 1
    np.testing.assert_array_equal(
        resize_image(image, (16, 16)), resize_image(image, 16)
    )


def test_the_largest_side_that_is_promised():
    """32,768 pixels to 8, the smallest network image."""
    row = RNG.integers(0, 256, (1, 32768, 1), np.uint8)
    small = jax.device_get(jax.jit(resize_images_jnp, static_argnums=1)(row[None], 8))[
        0
    ]
    np.testing.assert_array_equal(small, resize_image(row, 8))


def triangle_average(row, size):
    """Bilinear reduction written out: a triangle as wide as the factor, normalized."""
    factor = len(row) / size
    result = []
    for i in range(size):
        distance = np.abs(np.arange(len(row)) + 0.5 - (i + 0.5) * factor)
        weights = np.maximum(0, 1 - distance / max(factor, 1))
        result.append(weights @ row / weights.sum())
    return np.array(result)


@pytest.mark.parametrize("shape", [(40, 70), (8, 200)])
def test_zoom_is_bilinear_with_antialias(shape):
    """Also where one side grows and the other shrinks; the aspect is not kept."""
    image = RNG.integers(0, 256, shape, np.uint8)
    rows = np.stack([triangle_average(row, 16) for row in image.astype(float)])
    want = np.stack([triangle_average(column, 16) for column in rows.T]).T
    got = resize_image(image[..., None], 16)
    assert got.shape == (16, 16, 1)
    assert got.dtype == np.uint8
    assert np.abs(got[..., 0] - want).max() <= 1.5  # rounded once an axis


def test_zoom_treats_channels_alike():
    image = RNG.integers(0, 256, (40, 30, 3), np.uint8)
    got = resize_image(image, 16)
    for channel in range(3):
        alone = resize_image(image[..., channel : channel + 1], 16)
        np.testing.assert_array_equal(got[..., channel], alone[..., 0])
    square = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(resize_image(square, 16), square)


@pytest.mark.parametrize("shape", [(64, 64), (100, 170), (33, 129), (32, 20), (1, 7)])
def test_upsample_is_bilinear_with_half_pixel_centers(shape):
    scores = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    expected = jax.image.resize(scores, shape, "linear", antialias=False)
    result = upsample(scores, *shape)
    assert result.dtype == np.float32
    # JAX has float32 sample positions.
    np.testing.assert_allclose(result, expected, atol=3e-5)


def test_upsample_by_hand():
    # Centers of four pixels over two: -1/4 (clamped to 0), 1/4, 3/4, 5/4 (clamped).
    result = upsample(np.array([[0.0, 4.0]]), 1, 4)
    np.testing.assert_array_equal(result, [[0, 1, 3, 4]])


def test_upsample_keeps_constants_range_and_size():
    np.testing.assert_array_equal(upsample(np.full((8, 8), 0.1), 31, 17), 0.1)
    scores = np.random.default_rng(1).random((8, 8), np.float32)
    large = upsample(scores, 50, 60)
    assert scores.min() <= large.min() <= large.max() <= scores.max()
    np.testing.assert_array_equal(upsample(scores, 8, 8), scores)
