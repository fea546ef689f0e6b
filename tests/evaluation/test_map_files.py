"""Upsampling against another implementation, and the TIFF files."""

import numpy as np
import pytest
import tifffile
from helpers import spro_oracle as oracle

from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.threads import Scratch
from gcad_jax.data.dataset import GOOD, LOGICAL
from gcad_jax.evaluation.map_files import (
    map_file_source,
    map_path,
    read_map,
    write_maps,
)
from gcad_jax.evaluation.map_source import UpsampledMaps


def test_maps_are_written_in_the_official_layout(tmp_path):
    images = [
        oracle.an_image(0, GOOD, 20, 30),
        oracle.an_image(4, LOGICAL, 10, 16),
    ]
    maps = np.random.default_rng(0).random((2, 8, 8), np.float32)
    write_maps(tmp_path, "bottle", images, UpsampledMaps(maps, images))
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    assert files == [
        "bottle/test/good/000.tiff",
        "bottle/test/logical_anomalies/004.tiff",
    ]
    scores = tifffile.imread(tmp_path / files[0])
    assert (scores.shape, scores.dtype) == ((20, 30), np.float32)
    paths = [map_path(tmp_path, "bottle", image) for image in images]
    source = map_file_source(paths, images)
    np.testing.assert_array_equal(source(1), UpsampledMaps(maps, images)(1))


def test_map_path_of_a_name_without_folder():
    image = oracle.an_image(0, GOOD, 1, 1)
    bare = type(image)("000", GOOD, 1, 1)
    assert map_path("m", "c", bare) == map_path("m", "c", image)


def test_number_of_maps():
    with pytest.raises(ValueError, match=r"expected \(1, h, w\)"):
        UpsampledMaps(np.zeros((2, 4, 4)), [oracle.an_image(0, GOOD, 4, 4)])


@pytest.mark.parametrize("dtype", [np.float64, np.uint16, np.float16])
def test_reads_both_suffixes_and_types(tmp_path, dtype):
    scores = np.arange(12).reshape(3, 4).astype(dtype)
    tifffile.imwrite(tmp_path / "000.tif", scores)
    result = read_map(tmp_path / "000.tiff")
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, scores)


def test_bad_files(tmp_path):
    path = tmp_path / "000.tiff"
    with pytest.raises(UserError, match="There are 0 anomaly maps"):
        read_map(path)
    path.write_bytes(b"no tiff at all")
    with pytest.raises(UserError, match="not a readable TIFF"):
        read_map(path)
    tifffile.imwrite(path, np.zeros((5, 6, 7), np.float32))
    with pytest.raises(UserError, match=r"\(5, 6, 7\)"):
        read_map(path)
    tifffile.imwrite(tmp_path / "000.tif", np.zeros((3, 4), np.float32))
    with pytest.raises(UserError, match="There are 2 anomaly maps"):
        read_map(path)


@pytest.mark.filterwarnings("ignore:.*zero-size array:UserWarning")
def test_a_map_without_pixels(tmp_path):
    tifffile.imwrite(tmp_path / "000.tiff", np.zeros((0, 4), np.float32))
    with pytest.raises(UserError, match=r"000\.tiff holds float32 of shape \(0, 4\)"):
        read_map(tmp_path / "000.tiff")


def test_maps_in_the_space_of_a_thread():
    """Of mixed sizes and types, one after the other: each as if it were alone."""
    random = np.random.default_rng(0)
    images = [
        oracle.an_image(number, GOOD, *size)
        for number, size in enumerate([(9, 40), (300, 700), (8, 8), (31, 5)])
    ]
    maps = random.normal(size=(4, 8, 8)).astype(np.float32)
    space = Scratch()
    for dtype in (np.float32, np.float64):
        source = UpsampledMaps(maps.astype(dtype), images)
        for i in (0, 1, 2, 3, 1):
            held = source(i, space)
            assert held.dtype == dtype
            np.testing.assert_array_equal(held, source(i))
    assert source(0, space).base is source(3, space).base
    assert (
        UpsampledMaps(maps, images)(0).base is not UpsampledMaps(maps, images)(0).base
    )
