"""Nearest neighbours of patches, by hand."""

import numpy as np
import pytest
from pretraining.colours import write_photos

from gcad_jax.data.patches import Cut
from gcad_jax.data.photos import Photos
from gcad_jax.pretraining.probe import OF_EACH, found_again, halves


def test_halves_are_of_the_left_and_the_right(tmp_path):
    images = Photos(root=str(write_photos(tmp_path, 2))).load(print)

    class Sides:
        def read(self, row):
            image = images.read(row).copy()
            middle = image.shape[1] // 2
            image[:, :middle], image[:, middle:] = 10 * row, 10 * row + 1
            return image

    gallery, queries = halves(Sides(), np.array([1, 0]), Cut(8, 8, (2, 3)))
    assert gallery.shape == queries.shape == (2 * OF_EACH, 8, 8, 3)
    assert (gallery[:OF_EACH] == 10).all()
    assert (gallery[OF_EACH:] == 0).all()
    assert (queries[:OF_EACH] == 11).all()
    assert (queries[OF_EACH:] == 1).all()


@pytest.mark.parametrize("right", [0, 1, OF_EACH])
def test_the_fraction_is_counted(right):
    """Two photos at 0 and 10; some queries of the first lie near the second."""
    known = np.repeat([[0.0, 3.0], [10.0, 3.0]], OF_EACH, axis=0)
    asked = known.copy()
    asked[right:OF_EACH, 0] = 9.0
    found = found_again(lambda x: x, known, asked)
    assert found == (right + OF_EACH) / (2 * OF_EACH)
