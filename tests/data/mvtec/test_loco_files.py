"""MVTec LOCO AD with one wrong file: load names it."""

import shutil

import numpy as np
import pytest
from helpers import trees
from helpers.loco_folder import load
from PIL import Image

from gcad_jax.core.errors import UserError

LOGICAL = "ground_truth/logical_anomalies"


@pytest.fixture
def folder(tmp_path):
    return trees.make_loco(tmp_path / "root")


def unknown_value(folder):
    return trees.save(folder / LOGICAL / "001/001.png", trees.rectangle(0, 0, 4, 5, 77))


def two_values(folder):
    mask = trees.rectangle(0, 0, 4, 5, 255)
    mask[20, 3] = 254
    return trees.save(folder / LOGICAL / "001/001.png", mask)


def empty_mask(folder):
    return trees.save(folder / LOGICAL / "001/001.png", trees.rectangle(0, 0, 0, 0, 1))


def mask_of_another_size(folder):
    return trees.save(
        folder / LOGICAL / "001/000.png", np.full((16, 24), 255, np.uint8)
    )


def too_small_for_its_threshold(folder):
    return trees.save(
        folder / LOGICAL / "000/001.png", trees.rectangle(3, 3, 1, 1, 254)
    )


def no_masks(folder):
    shutil.rmtree(folder / LOGICAL / "001")
    return folder / "test/logical_anomalies/001.png"


def empty_mask_folder(folder):
    no_masks(folder)
    (folder / LOGICAL / "001").mkdir()
    return folder / "test/logical_anomalies/001.png"


def truncated_image(folder):
    path = folder / "train/good/002.png"
    path.write_bytes(path.read_bytes()[:200])
    return path


def not_an_image(folder):
    path = folder / "test/good/001.png"
    path.write_text("no image")
    return path


def truncated_mask(folder):
    path = folder / LOGICAL / "000/000.png"
    path.write_bytes(path.read_bytes()[:60])
    return path


def image_twice(folder):
    path = folder / "train/good/001.jpg"
    Image.fromarray(trees.noise(1)).save(path)
    return folder / "train/good/001.png"


def unknown_kind(folder):
    return trees.save(folder / "test/logical/000.png", trees.noise(9)).parents[1]


def no_config(folder):
    (folder / "defects_config.json").unlink()
    return folder / "defects_config.json"


def bad_config(folder):
    trees.write_defects(folder, [trees.DEFECTS[0], trees.DEFECTS[0]])
    return folder / "defects_config.json"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            unknown_value,
            "pixel value 77, which no defect .* known values: 200, 254, 25",
        ),
        (two_values, "several positive values .such as 254 and 255"),
        (empty_mask, "without any positive pixel"),
        (mask_of_another_size, "24 x 16 pixels, but its image .*001.png has 16 x 24"),
        (too_small_for_its_threshold, "1 pixels .* 0.7, so it saturates at 0 pixels"),
        (no_masks, "has no masks; .*logical_anomalies/001 must hold"),
        (empty_mask_folder, "has no masks"),
        (truncated_image, "is not a readable image"),
        (not_an_image, "is not a readable image"),
        (truncated_mask, "is not a readable image"),
        (image_twice, "001.jpg beside it .* must be there once"),
        (unknown_kind, "'logical'; allowed .* Did you mean 'logical_anomalies'"),
        (no_config, "cannot be read"),
        (bad_config, "pixel_value 255 2 times"),
    ],
)
def test_bad_files_are_named(folder, spoil, words):
    path = spoil(folder)
    for _ in range(2):  # a second run must say the same
        with pytest.raises(UserError, match=words) as error:
            load(folder)
        assert str(path.with_suffix("")) in str(error.value)
        assert "\n" not in str(error.value)
