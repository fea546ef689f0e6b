"""PNG files: Pillow and matplotlib read the very pixels that were written."""

import io

import matplotlib.image
import numpy as np
import pytest
from PIL import Image

from gcad_jax.reporting.plots.overlay import encode_png


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (31, 64), (300, 411)])
@pytest.mark.parametrize("kind", ["noise", "smooth", "even"])
def test_other_programs_read_the_pixels(shape, kind):
    random = np.random.default_rng(0)
    pixels = {
        "noise": random.integers(0, 256, (*shape, 3)),
        "smooth": np.cumsum(random.integers(-1, 2, (*shape, 3)), axis=0) % 256,
        "even": np.full((*shape, 3), 255),
    }[kind].astype(np.uint8)
    file = encode_png(pixels)
    with Image.open(io.BytesIO(file)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        picture.verify()  # the sums of its chunks
    with Image.open(io.BytesIO(file)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)
    read = matplotlib.image.imread(io.BytesIO(file))
    np.testing.assert_array_equal((read * 255).round().astype(np.uint8), pixels)


def test_an_image_that_is_a_view_of_another():
    pixels = np.arange(10 * 12 * 3, dtype=np.uint8).reshape(10, 12, 3)[::2, 1::3]
    with Image.open(io.BytesIO(encode_png(pixels))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_about_as_small_as_those_of_pillow():
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
    picture = coarse.resize((640, 480), Image.Resampling.BICUBIC)
    noisy = np.asarray(picture) + random.normal(0, 3, (480, 640, 3))
    noisy = np.clip(noisy, 0, 255).astype(np.uint8)
    theirs = io.BytesIO()
    Image.fromarray(noisy).save(theirs, "PNG", compress_level=1)
    assert len(encode_png(noisy)) < 1.1 * len(theirs.getvalue())
