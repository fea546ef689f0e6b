import dataclasses

import numpy as np
import pytest
import scipy.ndimage

from gcad_jax.core.errors import UserError
from gcad_jax.data.circles import Circles, smooth
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL

FEW = Circles(num_train=12, num_validation=3, num_test=15)
DISC = sum(y * y + x * x <= 256 for y in range(-16, 17) for x in range(-16, 17))


@pytest.fixture(scope="module")
def category():
    return FEW.load("circles", 256, 3)


def of_kind(category, kind):
    rows = [i for i, entry in enumerate(category.test_images) if entry.kind == kind]
    return [(category.test[i], category.test_images[i]) for i in rows]


def mask_of(entry):
    (region,) = entry.regions
    mask = np.zeros((entry.height, entry.width), bool)
    mask.ravel()[region.pixels] = True
    return mask


def dark_parts(image):
    """Areas of the connected parts whose every channel is below half."""
    labels, count = scipy.ndimage.label((image < 125).all(axis=2))
    return [int((labels == i + 1).sum()) for i in range(count)]


def test_the_paper_s_counts_are_the_default():
    assert dataclasses.astuple(Circles())[:4] == (1000, 100, 100, 0)
    assert Circles().side == 256
    assert Circles().names() == ("circles",)


def test_shapes_and_what_it_says(category):
    assert category.train.shape == (12, 256, 256, 3)
    assert category.validation.shape == (3, 256, 256, 3)
    assert category.test.shape == (45, 256, 256, 3)
    assert category.train.dtype == category.test.dtype == np.uint8
    assert [e.kind for e in category.test_images] == (
        [GOOD] * 15 + [STRUCTURAL] * 15 + [LOGICAL] * 15
    )
    assert len({entry.name for entry in category.test_images}) == 45
    assert category.augmentation.is_identity
    assert not category.complete
    assert "generated" in category.notes[0]


def test_good_images_show_one_black_disc_on_white_noise(category):
    good = [*category.train, *category.validation]
    good += [image for image, _ in of_kind(category, GOOD)]
    places = set()
    for image in good:
        (area,) = dark_parts(image)
        assert abs(area - DISC) < 25  # the blurred edge crosses half at the radius
        y, x = np.nonzero((image < 125).all(axis=2))
        assert image[round(y.mean()), round(x.mean())].max() == 0
        assert 16 <= round(y.mean()) <= 239
        assert 16 <= round(x.mean()) <= 239
        places.add((round(y.mean()), round(x.mean())))
        background = image[scipy.ndimage.minimum_filter(image.min(axis=2), 25) > 200]
        assert background.min() >= 247
        assert abs(background.mean() - 251) < 0.2
        # Noise of variance 60 / 9 a channel, smoothed: times 1 / (4 pi sigma^2).
        smoothed = 60 / 9 / (4 * np.pi * 1.5**2) + 1 / 12
        assert background.var(axis=0) == pytest.approx([smoothed] * 3, rel=0.15)
    assert len(places) == len(good)


def test_a_structural_anomaly_is_colored_inside_the_disc(category):
    areas = set()
    for image, entry in of_kind(category, STRUCTURAL):
        mask = mask_of(entry)
        (region,) = entry.regions
        assert (region.defect_name, region.pixel_value) == ("color", 254)
        assert (region.saturation_threshold, region.relative_saturation) == (1.0, True)
        assert region.area == mask.sum()
        assert 20 <= region.area < DISC
        y, x = np.nonzero(image.min(axis=2) < 125)
        center = (y.min() + y.max()) / 2, (x.min() + x.max()) / 2
        distances = np.hypot(*(np.argwhere(mask) - center).T)
        assert distances.max() < 20  # 16, and what a bright edge takes off the outline
        inside = scipy.ndimage.binary_erosion(mask, iterations=3)
        if inside.any():
            assert image[inside].max() > 90  # blur takes some of at least 128
        near = scipy.ndimage.binary_dilation(mask, iterations=7)
        assert dark_parts(np.where(near[..., None], 255, image))  # the rest is black
        areas.add(region.area)
    assert len(areas) > 8


def test_a_logical_anomaly_has_two_discs_in_one_mask(category):
    for image, entry in of_kind(category, LOGICAL):
        assert [abs(area - DISC) < 25 for area in dark_parts(image)] == [True, True]
        mask = mask_of(entry)
        (region,) = entry.regions
        assert (region.defect_name, region.pixel_value) == ("additional_circle", 255)
        assert (region.saturation_threshold, region.relative_saturation) == (0.5, True)
        assert mask.sum() == 2 * DISC
        # The mask is where the discs are: 4 pixels inside the edge the blur has ended.
        assert image[scipy.ndimage.binary_erosion(mask, iterations=4)].max() < 10
        assert (image[~mask].min(axis=1) > 60).all()
        parts, _ = scipy.ndimage.label(mask)
        centers = scipy.ndimage.center_of_mass(mask, parts, [1, 2])
        assert np.hypot(*np.subtract(*centers)) >= 36


def test_pixels_are_ascending_int32(category):
    for entry in category.test_images:
        assert (entry.height, entry.width) == (256, 256)
        assert bool(entry.regions) == (entry.kind != GOOD)
        for region in entry.regions:
            assert region.pixels.dtype == np.int32
            assert (np.diff(region.pixels) > 0).all()


def test_the_seed_decides_and_counts_do_not(category):
    more = dataclasses.replace(FEW, num_train=14, num_validation=2, num_test=16)
    again = more.load("circles", 256, 3)
    np.testing.assert_array_equal(again.train[:12], category.train)
    np.testing.assert_array_equal(again.validation, category.validation[:2])
    np.testing.assert_array_equal(again.test[16:31], category.test[15:30])
    other = dataclasses.replace(FEW, seed=1).load("circles", 256, 3)
    assert (other.train != category.train).any(axis=(1, 2, 3)).all()


def test_splits_share_no_image(category):
    images = np.concatenate([category.train, category.validation, category.test])
    assert len({image.tobytes() for image in images}) == len(images)


def test_zoom_and_gray(category):
    small = FEW.load("circles", 64, 1)
    assert small.train.shape == (12, 64, 64, 1)
    assert small.test_images[0].height == 256  # scored at the generated size
    blocks = category.train.mean(axis=3).reshape(12, 64, 4, 64, 4).mean(axis=(2, 4))
    assert np.abs(small.train[..., 0] - blocks).mean() < 1.0


def test_smooth_is_a_gaussian_filter_as_in_scipy():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    want = scipy.ndimage.gaussian_filter(
        image.astype(float), 1.5, mode="nearest", truncate=4.0, axes=(0, 1)
    )
    assert np.abs(smooth(image, 1.5) - want).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(smooth(image, 0.0), image)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_train": 0}, "data.num_train is 0"),
        ({"num_test": -1}, "data.num_test is -1"),
        ({"seed": -1}, "data.seed is -1"),
        ({"side": 64}, "data.side is 64"),
        ({"min_distance": 32}, "data.min_distance is 32"),
        ({"region_radius_min": 13}, "data.region_radius_min is 13"),
        ({"colour_min": 256}, "data.colour_min is 256"),
    ],
)
def test_impossible_fields(change, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(FEW, **change).load("circles", 64, 3)


def test_unknown_category():
    with pytest.raises(UserError, match=r"'circle'.*Did you mean 'circles'"):
        Circles(categories=("circle",)).names()
    with pytest.raises(UserError, match="allowed are 'circles'"):
        FEW.load("squares", 64, 3)
