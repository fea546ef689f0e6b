"""Ground truth and maps on disk, read without test images."""

import numpy as np
import pytest
from helpers import map_folders as folders

from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation import ground_truth_files, map_files

SIZE = (folders.HEIGHT, folders.WIDTH)


def pixels(top, left, height, width):
    """Flat indices of a rectangle, by arithmetic."""
    rows = range(top, top + height)
    return [r * folders.WIDTH + c for r in rows for c in range(left, left + width)]


def test_loco_layout(tmp_path):
    data, _ = folders.make_loco(tmp_path)
    dataset, images = ground_truth_files.anomalous_images(data)
    assert dataset == "mvtec_loco_ad"
    assert [(i.name, i.kind) for i in images] == [
        ("structural_anomalies/000", STRUCTURAL),
        ("structural_anomalies/001", STRUCTURAL),
        ("logical_anomalies/000", LOGICAL),
    ]
    assert {(i.height, i.width) for i in images} == {SIZE}
    missing, dent = images[2].regions
    assert missing.pixels.tolist() == pixels(0, 0, 4, 5)
    assert missing.pixels.dtype == np.int32
    assert (missing.defect_name, missing.pixel_value) == ("missing", 255)
    assert (missing.saturation_threshold, missing.relative_saturation) == (4, False)
    assert dent.pixels.tolist() == pixels(8, 6, 2, 2)
    assert (dent.saturation_threshold, dent.relative_saturation) == (0.5, True)


def test_files_with_one_value_are_regions_of_their_own(tmp_path):
    data, _ = folders.make_loco(tmp_path)
    again = folders.rectangle(5, 5, 1, 1, 200) + folders.rectangle(9, 0, 2, 2, 200)
    again[2, 3] = 200  # overlaps the other file
    file = data / "ground_truth/structural_anomalies/000/001.png"
    folders.save_mask(file, again)
    (_, images) = ground_truth_files.anomalous_images(data)
    assert [r.area for r in images[0].regions] == [12, 6]


def test_mvtec_ad_layout(tmp_path):
    data, _ = folders.make_ad(tmp_path)
    (data / "ground_truth/good").mkdir()
    dataset, images = ground_truth_files.anomalous_images(data)
    assert dataset == "mvtec_ad"
    # Of cable, cable_swap is the paper's logical anomaly.
    assert [(i.name, i.kind) for i in images] == [
        ("cable_swap/000", LOGICAL),
        ("poke/000", STRUCTURAL),
    ]
    (region,) = images[0].regions
    assert region.pixels.tolist() == pixels(1, 2, 3, 4)
    assert region.defect_name == "cable_swap"
    assert (region.saturation_threshold, region.relative_saturation) == (1, True)


def test_good_images_are_those_of_the_maps(tmp_path):
    data, maps = folders.make_loco(tmp_path)
    other = folders.save_map(maps / "test/good/007.v2.tif", np.zeros((3, 5), np.uint8))
    found = map_files.list_maps(maps / "test")
    assert found["good/007.v2"] == other
    images = ground_truth_files.good_images(data, found)
    assert [(i.name, i.kind, i.height, i.width) for i in images] == [
        ("good/000", GOOD, *SIZE),
        ("good/001", GOOD, *SIZE),
        ("good/007.v2", GOOD, 3, 5),
    ]


def test_good_images_are_those_of_the_data_set_where_it_has_them(tmp_path):
    data, maps = folders.make_loco(tmp_path)
    folders.save_mask(data / "test/good/004.png", np.zeros((5, 7), np.uint8))
    images = ground_truth_files.good_images(data, map_files.list_maps(maps / "test"))
    assert [(i.name, i.height, i.width) for i in images] == [("good/004", 5, 7)]


def test_other_files_and_hidden_ones_are_passed_over(tmp_path):
    data, maps = folders.make_loco(tmp_path)
    before = (
        ground_truth_files.anomalous_images(data)[1],
        map_files.list_maps(maps / "test"),
    )
    (data / "ground_truth/.DS_Store").write_text("")
    (data / "ground_truth/logical_anomalies/000/notes.txt").write_text("")
    (maps / "test/good/000.png").write_text("")
    (maps / "test/good/._000.tiff").write_text("")
    after = (
        ground_truth_files.anomalous_images(data)[1],
        map_files.list_maps(maps / "test"),
    )
    assert [i.name for i in before[0]] == [i.name for i in after[0]]
    assert before[1] == after[1]


def test_links_are_followed(tmp_path):
    data, maps = folders.make_loco(tmp_path)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mine").symlink_to(data)
    folder = ground_truth_files.find_category(tmp_path / "links", "mine")
    assert len(ground_truth_files.anomalous_images(folder)[1]) == 3
    file = maps / "test/good/001.tiff"
    file.unlink()
    file.symlink_to(maps / "test/good/000.tiff")
    assert map_files.list_maps(maps / "test")["good/001"] == file


def test_nearest_category(tmp_path):
    data, _ = folders.make_loco(tmp_path)
    with pytest.raises(UserError, match=r"no folder 'pushpin';.*Did you mean 'pushpi"):
        ground_truth_files.find_category(data.parent, "pushpin")
    with pytest.raises(UserError, match="give the folder above it"):
        ground_truth_files.find_category(data, "pushpins")
    with pytest.raises(UserError, match="elsewhere is not a folder"):
        ground_truth_files.find_category(tmp_path / "elsewhere", "pushpins")


def test_source_names_the_file(tmp_path):
    _, maps = folders.make_loco(tmp_path)
    path = maps / "test/good/000.tiff"
    images = ground_truth_files.good_images(tmp_path, {"good/000": path})
    np.testing.assert_array_equal(
        map_files.map_file_source([path], images)(0), np.zeros(SIZE)
    )
    for bad in (np.nan, np.inf, -np.inf):
        scores = np.zeros(SIZE, np.float64)
        scores[3, 3] = bad
        folders.save_map(path, scores)
        with pytest.raises(UserError, match=r"good/000\.tiff holds NaN or infinite"):
            map_files.map_file_source([path], images)(0)
    folders.save_map(path, np.zeros(SIZE[::-1], np.float32))
    with pytest.raises(UserError, match=r"000\.tiff is a map of 12 x 8 pixels"):
        map_files.map_file_source([path], images)(0)
