"""Digests of images: those of version 0.1.0, and what changes them."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest
from helpers import outside, runs

from gcad_jax.data.circles import Circles
from gcad_jax.data.dataset import Category
from gcad_jax.runs.data_digest import (
    digest_category,
    digest_files,
    digest_ground_truth,
)


@pytest.mark.parametrize(
    ("archive", "run"),
    [("half_way", "."), ("parts", "seed_0"), ("parts", "seed_1")],
)
def test_digests_are_those_that_0_1_0_wrote(
    tmp_path: pathlib.Path, archive: str, run: str
) -> None:
    workdir = outside.unpack(f"{archive}.tar.xz", tmp_path) / run
    config = outside.read_json(workdir / "config.json")
    fields = {key: v for key, v in config["data"].items() if key != "class"}
    fields["categories"] = tuple(fields["categories"])
    size = config["method"]["image_size"]
    category = Circles(**fields).load("circles", size, 3)
    written = outside.read_json(workdir / "circles/data.json")
    assert digest_category(category) == written


@pytest.fixture
def category() -> Category:
    return runs.circles().load("circles", 32, 3)


def test_a_pixel_changes_the_digest_of_its_split_alone(category: Category) -> None:
    before = digest_category(category)
    for split, images in (
        ("train", category.train),
        ("validation", category.validation),
    ):
        images[0, 3, 4, 1] ^= 1
        after = digest_category(category)
        assert [s for s in before if before[s] != after[s]] == [split]
        images[0, 3, 4, 1] ^= 1
    ground_truth = digest_ground_truth(category.test_images)
    category.test[-1, 0, 0, 0] ^= 1
    after = digest_category(category)
    assert [s for s in before if before[s] != after[s]] == ["test"]
    assert digest_ground_truth(category.test_images) == ground_truth


CHANGES = (
    {"defect_name": "other"},
    {"saturation_threshold": 0.25},
    {"relative_saturation": False},
    {"pixels": np.arange(7)},
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_whatever_scores_depend_on_changes_the_ground_truth(
    category: Category, change: dict
) -> None:
    *others, last = category.test_images
    assert last.regions[0].relative_saturation
    regions = (dataclasses.replace(last.regions[0], **change), *last.regions[1:])
    changed = (*others, dataclasses.replace(last, regions=regions))
    before = digest_ground_truth(category.test_images)
    assert digest_ground_truth(changed) != before
    assert digest_ground_truth(others) != before


def test_files_by_name_size_and_time(tmp_path: pathlib.Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("a")
    alone = digest_files([one, other])  # a file that is not there is left out
    other.write_text("a")
    both = digest_files([one, other])
    assert both == digest_files([other, one]) != alone
    os.utime(other, ns=(1, 1))
    assert digest_files([one, other]) != both
