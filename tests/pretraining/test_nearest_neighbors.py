"""Nearest neighbors of patches, by hand."""

import numpy as np
import pytest
from helpers.colors import write_photos

from gcad_jax.data.input.patches import PatchCutter
from gcad_jax.data.photos import Photos
from gcad_jax.pretraining import nearest_neighbors
from gcad_jax.pretraining.nearest_neighbors import (
    MAX_PHOTOS,
    NUM_PLACES,
    PATCHES_PER_HALF,
    Retrieval,
    photo_retrieval,
    place_retrieval,
)


def test_halves_are_of_the_left_and_the_right(tmp_path):
    images = Photos(root=str(write_photos(tmp_path, 2))).load(print)

    class Sides:
        def read(self, row, among):
            image = images.read(row, among).copy()
            middle = image.shape[1] // 2
            image[:, :middle], image[:, middle:] = 10 * row, 10 * row + 1
            return image

    retrieval = photo_retrieval(Sides(), np.array([0, 1]), PatchCutter(8, 8, (2, 3)))
    assert (
        retrieval.gallery.shape
        == retrieval.queries.shape
        == (2 * PATCHES_PER_HALF, 8, 8, 3)
    )
    assert (retrieval.gallery[:PATCHES_PER_HALF] == 0).all()
    assert (retrieval.gallery[PATCHES_PER_HALF:] == 10).all()
    assert (retrieval.queries[:PATCHES_PER_HALF] == 1).all()
    assert (retrieval.queries[PATCHES_PER_HALF:] == 11).all()


@pytest.mark.parametrize("right", [0, 1, PATCHES_PER_HALF])
def test_the_fraction_is_counted(right):
    """Two photos at 0 and 10; some queries of the first lie near the second."""
    known = np.repeat([[0.0, 3.0], [10.0, 3.0]], PATCHES_PER_HALF, axis=0)
    retrieval = known.copy()
    retrieval[right:PATCHES_PER_HALF, 0] = 9.0
    found = Retrieval(known, retrieval, PATCHES_PER_HALF).accuracy(lambda x: x)
    assert found == (right + PATCHES_PER_HALF) / (2 * PATCHES_PER_HALF)


def test_gray_patches_keep_their_luma_and_no_color():
    colors = np.array([[[[255, 0, 0]]], [[[0, 255, 0]]], [[[9, 9, 9]]]], np.uint8)
    gray = Retrieval(colors, colors).without_colors().queries
    assert gray[:, 0, 0].tolist() == [[76] * 3, [150] * 3, [9] * 3]


class Ramp:
    """A photo whose red and green tell the place: 2 x + 20, 2 y + 20."""

    def read(self, row, among=None):
        del row, among
        y, x = np.mgrid[:100, :100]
        return np.stack([2 * x + 20, 2 * y + 20, 0 * x], axis=-1).astype(np.uint8)


def test_places_are_seen_again_nearby_in_other_light():
    retrieval = place_retrieval(Ramp(), np.array([0]), PatchCutter(16, 16, (6, 6)))
    assert retrieval.gallery.shape == retrieval.queries.shape == (NUM_PLACES, 16, 16, 3)
    gallery, queries = (
        x.astype(np.float64) for x in (retrieval.gallery, retrieval.queries)
    )
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


def test_places_are_moved_by_an_eighth_and_scaled_by_a_tenth(monkeypatch):
    monkeypatch.setattr(nearest_neighbors, "LIGHT", 0.0)
    monkeypatch.setattr(nearest_neighbors, "NOISE", 0.0)
    retrieval = place_retrieval(Ramp(), np.array([0]), PatchCutter(16, 16, (6, 6)))
    gallery, queries = (
        x.astype(np.float64) for x in (retrieval.gallery, retrieval.queries)
    )
    level = 2 * 100 / 96  # that a pixel of the zoomed photo rises by
    middle, right, left = slice(7, 9), slice(12, 16), slice(0, 4)
    for channel in (0, 1):
        moved, still = (
            x[:, middle, middle, channel].mean((1, 2)) for x in (queries, gallery)
        )
        moved = np.abs(moved - still) / level
        assert 1.5 < moved.max() <= 16 / 8 + 0.5  # pixels
    wide = [
        x[:, :, right, 0].mean((1, 2)) - x[:, :, left, 0].mean((1, 2))
        for x in (queries, gallery)
    ]
    scale = wide[0] / wide[1]
    assert 0.85 < scale.min() < 0.95
    assert 1.05 < scale.max() < 1.15


def test_of_many_photos_some_are_asked_about():
    retrieval = photo_retrieval(Ramp(), np.arange(5000), PatchCutter(8, 8, (2, 3)))
    assert len(retrieval.gallery) == MAX_PHOTOS * PATCHES_PER_HALF


def test_places_that_are_shown_unchanged_would_all_be_found():
    retrieval = place_retrieval(Ramp(), np.array([0]), PatchCutter(16, 16, (6, 16)))
    same = Retrieval(retrieval.gallery, retrieval.gallery)
    assert same.accuracy(lambda x: x.reshape(len(x), -1)) > 0.99
