"""Nearest neighbours of patches, by hand."""

import numpy as np
import pytest
from pretraining.colours import write_photos

from gcad_jax.data.patches import Cut
from gcad_jax.data.photos import Photos
from gcad_jax.pretraining.probe import OF_EACH, PLACES, Question, halves, places


def test_halves_are_of_the_left_and_the_right(tmp_path):
    images = Photos(root=str(write_photos(tmp_path, 2))).load(print)

    class Sides:
        def read(self, row):
            image = images.read(row).copy()
            middle = image.shape[1] // 2
            image[:, :middle], image[:, middle:] = 10 * row, 10 * row + 1
            return image

    asked = halves(Sides(), np.array([1, 0]), Cut(8, 8, (2, 3)))
    assert asked.gallery.shape == asked.queries.shape == (2 * OF_EACH, 8, 8, 3)
    assert (asked.gallery[:OF_EACH] == 10).all()
    assert (asked.gallery[OF_EACH:] == 0).all()
    assert (asked.queries[:OF_EACH] == 11).all()
    assert (asked.queries[OF_EACH:] == 1).all()


@pytest.mark.parametrize("right", [0, 1, OF_EACH])
def test_the_fraction_is_counted(right):
    """Two photos at 0 and 10; some queries of the first lie near the second."""
    known = np.repeat([[0.0, 3.0], [10.0, 3.0]], OF_EACH, axis=0)
    asked = known.copy()
    asked[right:OF_EACH, 0] = 9.0
    found = Question(known, asked, OF_EACH).answered(lambda x: x)
    assert found == (right + OF_EACH) / (2 * OF_EACH)


def test_grey_patches_keep_their_luma_and_no_colour():
    colours = np.array([[[[255, 0, 0]]], [[[0, 255, 0]]], [[[9, 9, 9]]]], np.uint8)
    grey = Question(colours, colours).grey().queries
    assert grey[:, 0, 0].tolist() == [[76] * 3, [150] * 3, [9] * 3]


class Ramp:
    """A photo whose red and green tell the place: 2 x + 20, 2 y + 20."""

    def read(self, row):
        del row
        y, x = np.mgrid[:100, :100]
        return np.stack([2 * x + 20, 2 * y + 20, 0 * x], axis=-1).astype(np.uint8)


def test_places_are_seen_again_nearby_in_other_light():
    asked = places(Ramp(), np.array([0]), Cut(16, 16, (6, 6)))
    assert asked.gallery.shape == asked.queries.shape == (PLACES, 16, 16, 3)
    gallery, queries = (x.astype(np.float64) for x in (asked.gallery, asked.queries))
    # The gallery is untouched: along a row red rises by 2 levels a photo pixel.
    rise = gallery[:, 8, 12, 0] - gallery[:, 8, 4, 0]
    np.testing.assert_allclose(rise, 8 * 2 * 100 / 96, atol=1.5)
    contrast = (
        queries[:, :, 12:, 0].mean((1, 2)) - queries[:, :, :4, 0].mean((1, 2))
    ) / (gallery[:, :, 12:, 0].mean((1, 2)) - gallery[:, :, :4, 0].mean((1, 2)))
    dark = queries.max((1, 2, 3)) < 250  # where nothing was clipped
    assert 0.5 < np.quantile(contrast[dark], 0.02) < 0.8
    assert 1.2 < np.quantile(contrast[dark], 0.98) < 1.6
    brightness = (queries.mean((1, 2, 3)) / gallery.mean((1, 2, 3)))[dark]
    assert 0.6 < brightness.min() < 0.8
    # A change of place that a descriptor has to bear, and no more.
    place = np.arange(PLACES)
    distance = np.abs(gallery[:, 8, 8, :2] - gallery[(place + 1) % PLACES, 8, 8, :2])
    assert np.median(distance) > 20  # the next one is elsewhere
    assert asked.answered(lambda x: x[:, 8, 8].astype(float)) < 1


def test_places_that_are_shown_unchanged_would_all_be_found():
    asked = places(Ramp(), np.array([0]), Cut(16, 16, (6, 16)))
    same = Question(asked.gallery, asked.gallery)
    assert same.answered(lambda x: x.reshape(len(x), -1)) > 0.99
