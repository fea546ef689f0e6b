"""Tiny ground truth with anomaly maps for it, in the official layouts, for tests.

There are no test images: evaluation needs none.
"""

import functools
import json
import pathlib

import numpy as np
import tifffile
from helpers import trees

HEIGHT, WIDTH = 12, 8  # not square, so that swapped sides are noticed
NAME = "pushpins"
DEFECTS = (
    trees.defect("missing", 255, 4, False),
    trees.defect("dent", 200, 0.5, True),
)
STRUCTURAL, LOGICAL = "structural_anomalies", "logical_anomalies"
rectangle = functools.partial(trees.rectangle, shape=(HEIGHT, WIDTH))
save_mask = trees.save
write_defects = trees.write_defects


def save_map(path: pathlib.Path, scores: np.ndarray) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, scores)
    return path


def metrics(output: pathlib.Path):
    """What the evaluation wrote there."""
    return json.loads((output / "metrics.json").read_text())


def make_loco(root: pathlib.Path, name: str = NAME) -> tuple[pathlib.Path, ...]:
    """Folders of a data set and of maps; returns both, each with the category's name.

    Two good images, two structural ones (a dent of 3 x 4 pixels at (2, 3)) and a
    logical one (missing, 4 x 5 at (0, 0), and a dent of 2 x 2 at (8, 6)). Scores are 0,
    and 1 on every mask.
    """
    data, maps = root / "data" / name, root / "maps" / name
    write_defects(data, DEFECTS)
    regions = {
        f"{STRUCTURAL}/000": [rectangle(2, 3, 3, 4, 200)],
        f"{STRUCTURAL}/001": [rectangle(2, 3, 3, 4, 200)],
        f"{LOGICAL}/000": [rectangle(0, 0, 4, 5, 255), rectangle(8, 6, 2, 2, 200)],
    }
    for image, masks in regions.items():
        for number, mask in enumerate(masks):
            save_mask(data / f"ground_truth/{image}/{number:03}.png", mask)
        marked = np.sum(masks, axis=0) > 0
        save_map(maps / f"test/{image}.tiff", marked.astype(np.float32))
    for number in range(2):
        zeros = np.zeros((HEIGHT, WIDTH), np.float32)
        save_map(maps / f"test/good/{number:03}.tiff", zeros)
    return data, maps


def make_ad(root: pathlib.Path, name: str = "cable") -> tuple[pathlib.Path, ...]:
    """The same in MVTec AD's layout: one good image, cable_swap (logical), poke."""
    data, maps = root / "data" / name, root / "maps" / name
    for defect in ("cable_swap", "poke"):
        mask = rectangle(1, 2, 3, 4, 255)
        save_mask(data / f"ground_truth/{defect}/000_mask.png", mask)
        save_map(maps / f"test/{defect}/000.tiff", (mask > 0).astype(np.float32))
    save_map(maps / "test/good/000.tiff", np.zeros((HEIGHT, WIDTH), np.float32))
    return data, maps
