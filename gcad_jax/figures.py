"""Which figures a run draws, and where its report finds them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

from gcad_jax import plots
from gcad_jax.data.category import GOOD, LOGICAL, STRUCTURAL, Category, TestImage
from gcad_jax.evaluation import spro
from gcad_jax.evaluation.report import Figure
from gcad_jax.evaluation.scores import CategoryResult

MAPS, CURVES, LOSSES = "maps.png", "curves.png", "losses.png"
CAPTIONS = {
    MAPS: "{}: input, ground truth, the maps of the branches where there are some, "
    "and the map A that counts; one colour scale a column, from the median of the "
    "scores shown to their 99.9 %",
    CURVES: "{}: sPRO over the false positive rate; AU-sPRO is taken up to the limit",
    LOSSES: "{}: losses in training",
}
SHOWN_SIDE = 256  # pixels of the longer side of an image in a figure


def links(folder: epath.Path, names: Sequence[str]) -> list[Figure]:
    """The figures that exist, by path relative to the report in `folder`."""
    return [
        Figure(caption.format(name), f"{name}/{file}")
        for name in names
        for file, caption in CAPTIONS.items()
        if (folder / name / file).exists()
    ]


def draw(
    folder: epath.Path,
    category: Category,
    branches: Mapping[str, np.ndarray],  # name -> (S, N, s, s), drawn in this order
    result: CategoryResult,
    images_a_kind: int,
) -> None:
    """Draws the maps and the curves of the first seed; nothing without test images."""
    if not branches:
        return
    rows = [
        row(category, i, {name: maps[0, i] for name, maps in branches.items()})
        for i in choose(category.test_images, images_a_kind)
    ]
    if rows:
        plots.qualitative(folder / MAPS, rows)
    lines: dict[str, dict[str, np.ndarray]] = {}
    for name in branches:
        for kind, curve in result.branches[name][0].curves.items():
            panel = kind.removesuffix("_anomalies")
            lines.setdefault(panel, {})[name] = np.asarray(curve)
    if lines:
        plots.curves(folder / CURVES, np.asarray(spro.RATES), lines)


def draw_training(folder: epath.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws the losses in metrics.jsonl; phases may have losses of their own."""
    names = dict.fromkeys(name for row in rows for name in row)
    losses = [name for name in names if name.startswith("L_")]
    if losses:
        plots.training(folder / LOSSES, rows, losses)


def choose(images: Sequence[TestImage], count: int) -> list[int]:
    """Indices to show: `count` structural and logical images, one good one.

    Different defect types first, so that the figure shows the breadth of the set; the
    choice does not look at the scores.
    """
    chosen = []
    for kind in (STRUCTURAL, LOGICAL):
        indices = [i for i, image in enumerate(images) if image.kind == kind]
        seen: dict[str, int] = {}
        turn = []  # how many images of the same type come before this one
        for i in indices:
            name = images[i].regions[0].defect_name if images[i].regions else ""
            turn.append(seen.get(name, 0))
            seen[name] = turn[-1] + 1
        order = sorted(range(len(indices)), key=lambda k: (turn[k], k))
        chosen += [indices[k] for k in order[:count]]
    good = [i for i, image in enumerate(images) if image.kind == GOOD]
    return chosen + good[:1]


def row(category: Category, i: int, maps: Mapping[str, np.ndarray]) -> plots.Row:
    """Test image i with its maps, by the names of their columns."""
    test = category.test_images[i]
    scale = SHOWN_SIDE / max(test.height, test.width)
    size = (max(1, round(test.width * scale)), max(1, round(test.height * scale)))
    pixels = category.test[i]
    shown = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image = np.asarray(shown.resize(size, Image.Resampling.BICUBIC))
    defect = test.regions[0].defect_name if test.regions else ""
    return plots.Row(
        title=defect.replace("_", " ") or test.kind.removesuffix("_anomalies"),
        image=image.reshape(*image.shape[:2], -1),
        mask=_mask(test, size) if test.annotated else None,
        maps=maps,
    )


def _mask(test: TestImage, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(test.height * test.width, bool)
    for region in test.regions:
        mask[region.pixels] = True
    picture = Image.fromarray(mask.reshape(test.height, test.width))
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST), bool)
