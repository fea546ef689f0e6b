"""Tiny data sets in MVTec's layouts, for tests.

Every image is noise from its own seed, so that a test can recompute what a file holds.
"""

import json
import pathlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 16  # not square, so that swapped sides are noticed


def defect(
    name: str, value: int, threshold: float, relative: bool
) -> dict[str, object]:
    """An entry of defects_config.json."""
    return {
        "defect_name": name,
        "pixel_value": value,
        "saturation_threshold": threshold,
        "relative_saturation": relative,
    }


DEFECTS = (
    defect("missing_part", 255, 10, False),
    defect("extra_part", 254, 0.7, True),
    defect("scratch", 200, 1.0, True),
)


def noise(seed: int, channels: int = 3) -> np.ndarray:  # (H, W, 3) or (H, W)
    shape = (HEIGHT, WIDTH, 3) if channels == 3 else (HEIGHT, WIDTH)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def rectangle(
    top: int, left: int, height: int, width: int, value: int, shape=(HEIGHT, WIDTH)
) -> np.ndarray:
    """A mask (H, W) that is `value` inside the rectangle."""
    mask = np.zeros(shape, np.uint8)
    mask[top : top + height, left : left + width] = value
    return mask


def save(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_defects(category: pathlib.Path, entries: object) -> None:
    category.mkdir(parents=True, exist_ok=True)
    (category / "defects_config.json").write_text(json.dumps(entries))


def make_loco(
    root: pathlib.Path,
    category: str = "juice_bottle",
    train: int = 4,
    validation: int = 2,
    good: int = 2,
    structural: int = 1,
    logical: int = 2,
) -> pathlib.Path:
    """`root`/`category` in the layout of MVTec LOCO AD; returns that folder.

    Seeds of the images: train 0.., validation 100.., good 200.., structural 300..,
    logical 400... Structural images have one mask (scratch, 3 x 4 pixels at (2, 3));
    logical ones have two: missing_part (4 x 5 at (0, 0)) and extra_part (2 x 5 at
    (10 + number, 6)).
    """
    folder = root / category
    for number in range(train):
        save(folder / f"train/good/{number:03}.png", noise(number))
    for number in range(validation):
        save(folder / f"validation/good/{number:03}.png", noise(100 + number))
    for number in range(good):
        save(folder / f"test/good/{number:03}.png", noise(200 + number))
    truth = folder / "ground_truth"
    for number in range(structural):
        kind = "structural_anomalies"
        save(folder / f"test/{kind}/{number:03}.png", noise(300 + number))
        save(truth / f"{kind}/{number:03}/000.png", rectangle(2, 3, 3, 4, 200))
    for number in range(logical):
        kind = "logical_anomalies"
        save(folder / f"test/{kind}/{number:03}.png", noise(400 + number))
        save(truth / f"{kind}/{number:03}/000.png", rectangle(0, 0, 4, 5, 255))
        save(
            truth / f"{kind}/{number:03}/001.png", rectangle(10 + number, 6, 2, 5, 254)
        )
    write_defects(folder, DEFECTS)
    return folder


def make_ad(
    root: pathlib.Path,
    category: str = "hazelnut",
    train: int = 10,
    good: int = 2,
    defects: dict[str, int] | None = None,
    channels: int = 3,
) -> pathlib.Path:
    """`root`/`category` in the layout of MVTec AD; returns that folder.

    Seeds of the images: train 0.., good 200.., the n-th defect 300 + 100 n...
    defects: number of images of each; a mask is 3 x 4 pixels at (2, 3 + number).
    """
    folder = root / category
    for number in range(train):
        save(folder / f"train/good/{number:03}.png", noise(number, channels))
    for number in range(good):
        save(folder / f"test/good/{number:03}.png", noise(200 + number, channels))
    for index, (defect, count) in enumerate((defects or {"crack": 2}).items()):
        for number in range(count):
            image = noise(300 + 100 * index + number, channels)
            save(folder / f"test/{defect}/{number:03}.png", image)
            mask = rectangle(2, 3 + number, 3, 4, 255)
            save(folder / f"ground_truth/{defect}/{number:03}_mask.png", mask)
    return folder
