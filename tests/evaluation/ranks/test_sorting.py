"""How the images of a category are divided into chunks."""

import dataclasses

import numpy as np
from helpers import spro_oracle as oracle

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.ranks import sorting


def category(count):
    """As many images of each kind, of 2 x 2 pixels."""
    images = []
    for kind in (GOOD, STRUCTURAL, LOGICAL):
        regions = () if kind == GOOD else (oracle.region(kind, np.eye(2)),)
        images += [oracle.an_image(n, kind, 2, 2, regions) for n in range(count)]
    return GroundTruth.build(images)


class Compared(int):
    """A number of which it is known how often it is compared."""

    times = 0

    def __eq__(self, other):
        Compared.times += 1
        return int(self) == other

    __hash__ = int.__hash__


def test_images_are_grouped_by_the_subsets_they_count_for():
    truth = category(3)
    subsets = [truth.subset_of_kind(STRUCTURAL), truth.subset_of_kind(LOGICAL)]
    assert sorting.group_into_chunks(truth, subsets) == [
        sorting.Chunk((0, 1, 2), (0, 1)),
        sorting.Chunk((3, 4, 5), (0,)),
        sorting.Chunk((6, 7, 8), (1,)),
    ]


def test_an_image_is_looked_up_and_not_searched_for():
    """Twice the images are compared twice as often, not four times."""
    times = []
    for count in (50, 100):
        truth = category(count)
        subset = truth.subset_of_kind(LOGICAL)
        counted = tuple(Compared(i) for i in subset.images)
        Compared.times = 0
        sorting.group_into_chunks(truth, [dataclasses.replace(subset, images=counted)])
        times.append(Compared.times)
    assert times[1] <= 2.2 * times[0] + 10
