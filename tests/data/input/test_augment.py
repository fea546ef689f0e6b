import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from gcad_jax.core.errors import UserError
from gcad_jax.data.input import augment as aug
from gcad_jax.data.input.augment import Augmentation, augment

RNG = np.random.default_rng(0)


@functools.partial(jax.jit, static_argnums=2)
def run(seeds, images, augmentation):
    keys = jax.vmap(jax.random.key)(seeds)
    return jax.vmap(lambda key, image: augment(key, image, augmentation))(keys, images)


def augmented(image, augmentation, seeds):
    """(S, H, W, C) numpy: one image, or one an entry, under many keys."""
    seeds = jnp.asarray(seeds)
    images = np.broadcast_to(image, (len(seeds), *image.shape[-3:]))
    return np.asarray(run(seeds, images, augmentation))


def numpy_gray(image):
    return image @ np.array([0.299, 0.587, 0.114])


def test_identity_changes_nothing_and_says_so():
    image = RNG.random((8, 10, 3), np.float32)
    assert Augmentation().is_identity
    assert not Augmentation(jitter=0.1).is_identity
    assert not Augmentation(vertical_flip=True).is_identity
    np.testing.assert_array_equal(augmented(image, Augmentation(), [0])[0], image)


@pytest.mark.parametrize(
    ("augmentation", "flipped"),
    [
        (Augmentation(vertical_flip=True), np.s_[::-1, :]),
        (Augmentation(horizontal_flip=True), np.s_[:, ::-1]),
    ],
)
def test_a_flip_happens_half_of_the_time_and_is_exact(augmentation, flipped):
    image = RNG.random((6, 5, 3), np.float32)
    results = augmented(image, augmentation, range(400))
    mirrored = [(r == image[flipped]).all() for r in results]
    untouched = [(r == image).all() for r in results]
    assert all(m != u for m, u in zip(mirrored, untouched, strict=True))
    assert 160 <= sum(mirrored) <= 240  # 4 standard deviations of B(400, 1/2)


def test_both_flips_are_independent():
    image = RNG.random((4, 4, 1), np.float32)
    results = augmented(image, Augmentation(True, True), range(400))
    forms = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    counts = [sum((r == form).all() for r in results) for form in forms]
    assert sum(counts) == 400
    assert all(60 <= count <= 140 for count in counts)


@pytest.mark.parametrize("degrees", [-3.0, 0.0, 1.7, 30.0])
@pytest.mark.parametrize("shape", [(33, 48, 3), (40, 31, 1)])
def test_rotation_is_bilinear_with_a_replicated_border_as_in_scipy(degrees, shape):
    image = RNG.random(shape, np.float32)
    got = np.asarray(jax.jit(aug.rotate)(image, degrees, False, False))
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.array([[cos, sin], [-sin, cos]])
    center = (np.array(shape[:2]) - 1) / 2
    want = np.stack(
        [
            scipy.ndimage.affine_transform(
                image[..., channel].astype(np.float64),
                matrix,
                center - matrix @ center,
                order=1,
                mode="nearest",
            )
            for channel in range(shape[2])
        ],
        axis=-1,
    )
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_quarter_turn_is_counter_clockwise():
    image = RNG.random((9, 9, 3), np.float32)
    got = np.asarray(aug.rotate(image, 90.0, False, False))
    np.testing.assert_allclose(got, np.rot90(image), atol=1e-5)


@pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True)])
def test_rotation_flips_first(flips):
    image = RNG.random((9, 9, 3), np.float32)
    flipped = image[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
    got = np.asarray(aug.rotate(image, 90.0, *flips))
    np.testing.assert_allclose(got, np.rot90(flipped), atol=1e-5)


def test_angles_fill_the_range_and_stay_in_it():
    """A column ramp turned by a small angle a has the slope tan(a) along a column."""
    x = np.arange(101, dtype=np.float32) / 100
    image = np.broadcast_to(x[None, :, None], (101, 101, 1))
    results = augmented(image, Augmentation(rotation_degrees=3.0), range(300))
    rise = results[:, 60, 50, 0] - results[:, 40, 50, 0]  # 20 rows: -20 sin(a) / 100
    degrees = np.rad2deg(np.arcsin(rise / 0.2))
    assert -3.0 <= degrees.min() < -2.8
    assert 2.8 < degrees.max() <= 3.0
    assert abs(degrees.mean()) < 0.4  # 4 standard errors of U(-3, 3)


def test_brightness_contrast_saturation_by_hand():
    image = RNG.random((7, 6, 3), np.float32)
    gray = numpy_gray(image)
    for factor in (0.5, 0.9, 1.1, 2.0):
        np.testing.assert_allclose(
            aug.adjust_brightness(image, factor),
            np.clip(image * factor, 0, 1),
            atol=1e-6,
        )
        np.testing.assert_allclose(
            aug.adjust_contrast(image, factor),
            np.clip(gray.mean() + factor * (image - gray.mean()), 0, 1),
            atol=1e-6,
        )
        np.testing.assert_allclose(
            aug.adjust_saturation(image, factor),
            np.clip(gray[..., None] + factor * (image - gray[..., None]), 0, 1),
            atol=1e-6,
        )


def test_jitter_is_brightness_then_contrast_then_saturation():
    """Factors are recovered from the result, which fixes the order and the range."""
    image = 0.3 + 0.4 * RNG.random((16, 16, 3), np.float32)  # nothing clips
    results = augmented(image, Augmentation(jitter=0.2), range(200))
    gray = numpy_gray(image)
    saturations, contrasts, brightnesses = [], [], []
    for result in results:
        after = numpy_gray(result)
        # Saturation keeps the gray; brightness b then contrast c leave it at
        # b * (m + c (g - m)) with the mean m: the mean gives b, the spread b * c.
        brightness = after.mean() / gray.mean()
        contrast = after.std() / gray.std() / brightness
        chroma, before = result - after[..., None], image - gray[..., None]
        scale = np.sum(chroma * before) / np.sum(before**2)
        brightnesses.append(brightness)
        contrasts.append(contrast)
        saturations.append(scale / (brightness * contrast))
        want = brightness * image
        mean = numpy_gray(want).mean()
        want = mean + contrast * (want - mean)
        luma = numpy_gray(want)[..., None]
        want = luma + saturations[-1] * (want - luma)
        np.testing.assert_allclose(result, want, atol=1e-5)
    for factors in (brightnesses, contrasts, saturations):
        assert 0.8 - 1e-4 <= min(factors) < 0.83
        assert 1.17 < max(factors) <= 1.2 + 1e-4
    table = np.corrcoef([brightnesses, contrasts, saturations])
    assert np.abs(table - np.eye(3)).max() < 0.3  # three independent draws


def test_gray_images_keep_one_channel_and_skip_saturation():
    image = 0.4 + 0.2 * RNG.random((8, 8, 1), np.float32)
    np.testing.assert_array_equal(aug.adjust_saturation(image, 1.7), image)
    results = augmented(image, Augmentation(True, True, 3.0, 0.1), range(5))
    assert results.shape == (5, 8, 8, 1)


def test_results_stay_in_range_and_float32():
    image = RNG.integers(0, 2, (32, 32, 3)).astype(np.float32)  # only 0 and 1
    results = augmented(image, Augmentation(True, True, 3.0, 0.5), range(20))
    assert results.dtype == np.float32
    assert results.min() >= 0.0
    assert results.max() <= 1.0 + 4e-6


def test_a_key_decides_alone():
    image = RNG.random((16, 16, 3), np.float32)
    full = Augmentation(True, True, 3.0, 0.1)
    many = augmented(image, full, [0, 1, 2, 3])
    assert not np.allclose(many[0], many[1])
    # Neither the other examples nor the place in the batch matter ...
    np.testing.assert_array_equal(augmented(image, full, [7, 2, 2, 9])[1], many[2])
    # ... and each operation draws from a key of its own.
    colors = augmented(image, Augmentation(jitter=0.1), [0, 1, 2, 3])
    both = augmented(colors, Augmentation(True, True, 3.0), [0, 1, 2, 3])
    np.testing.assert_allclose(both, many, atol=4e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rotation_degrees", -1.0),
        ("rotation_degrees", 181.0),
        ("jitter", -0.1),
        ("jitter", 1.0),
        ("jitter", float("nan")),
    ],
)
def test_ranges_are_checked(field, value):
    with pytest.raises(UserError, match=f"{field} is {value}"):
        Augmentation(**{field: value})
