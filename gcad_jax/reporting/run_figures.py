"""Which figures a run draws, and where its report finds them."""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL, Category, TestImage
from gcad_jax.evaluation import spro
from gcad_jax.evaluation.results import CategoryResult
from gcad_jax.reporting import example_selection
from gcad_jax.reporting.example_selection import describe_example, select_extremes
from gcad_jax.reporting.plots import curves, map_grid, style
from gcad_jax.reporting.report import Figure
from gcad_jax.reporting.tables import short

MAPS, WORST, BEST = "maps.png", "worst.png", "best.png"
CURVES, LOSSES = "curves.png", "losses.png"
SCALE = "one color scale a column, from the median of the scores shown to their 99.9 %"
# By file, in the order of the report: what a picture shows, and what is said of it.
CAPTIONS = {
    MAPS: (
        "test images with their anomaly maps",
        "input, ground truth, the maps of the branches where there are some, and the "
        f"map A that counts; {SCALE}",
    ),
    CURVES: (
        "sPRO curves",
        "sPRO over the false positive rate; AU-sPRO is taken up to the limit",
    ),
    WORST: (
        "the worst test images with their anomaly maps",
        f"the worst {example_selection.WORST}; color scales as of the best",
    ),
    BEST: (
        "the best test images with their anomaly maps",
        f"the best {example_selection.BEST}; color scales as of the worst",
    ),
    LOSSES: ("losses in training", "losses in training"),
}
# All that may lie in the folder of a category.
FILES = tuple(
    f"{png.removesuffix('png')}{form}" for png in CAPTIONS for form in style.FORMATS
)
SHOWN_SIDE = 256  # pixels of the longer side of an image in a figure


def list_figures(folder: epath.Path, names: Sequence[str]) -> list[Figure]:
    """The figures that exist, by path relative to the report in `folder`."""
    return [
        Figure(f"{name}: {caption}", f"{name}/{file}", f"{name}: {shows}", name)
        for name in names
        for file, (shows, caption) in CAPTIONS.items()
        if (folder / name / file).exists()
    ]


def render_figures(
    folder: epath.Path,
    category: Category,
    branches: Mapping[str, np.ndarray],  # name -> (S, N, h, w), drawn in this order
    result: CategoryResult,
    images_a_kind: int,
) -> None:
    """Draws maps, curves, worst and best images of the first seed.

    Nothing without test images.
    """
    if not branches:
        return

    def row(i: int, notes: Sequence[str] = ()) -> map_grid.ImageRow:
        maps = {name: maps_of_seeds[0, i] for name, maps_of_seeds in branches.items()}
        return image_row(category, i, maps, notes)

    selected = select_images(category.test_images, images_a_kind)
    if selected:
        figure = map_grid.render_map_grid([row(i) for i in selected])
        style.save_figure(figure, style.figure_paths(folder / MAPS))
    if images_a_kind:
        scores = result.combined[0]
        kinds = [image.kind for image in category.test_images]
        count = min(example_selection.COUNT, images_a_kind)
        worst, best = (
            [row(i, describe_example(kinds[i], scores, i)) for i in indices]
            for indices in select_extremes(kinds, scores.decision_scores, count)
        )
        # One scale for both figures, so that their maps compare.
        limits = map_grid.color_scales([*worst, *best])
        for file, rows in ((WORST, worst), (BEST, best)):
            if rows:
                figure = map_grid.render_map_grid(rows, limits=limits)
                style.save_figure(figure, style.figure_paths(folder / file))
    render_curves(folder, result)


def render_curves(folder: epath.Path, result: CategoryResult) -> None:
    """Draws the curves of the first seed; nothing where there are none."""
    lines: dict[str, dict[str, np.ndarray]] = {}
    for name, seeds in result.branches.items():
        for kind, curve in seeds[0].curves.items():
            lines.setdefault(short(kind), {})[name] = np.asarray(curve)
    if lines:
        figure = curves.render_spro_curves(np.asarray(spro.RATES), lines)
        style.save_figure(figure, style.figure_paths(folder / CURVES))


def render_losses(folder: epath.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws the losses in metrics.jsonl; phases may have losses of their own."""
    names = dict.fromkeys(name for row in rows for name in row)
    losses = [name for name in names if name.startswith("L_")]
    if losses:
        figure = curves.render_loss_curves(rows, losses)
        style.save_figure(figure, style.figure_paths(folder / LOSSES))


def render_missing(
    folder: epath.Path,
    result: CategoryResult,
    rows: Callable[[], Sequence[Mapping[str, Any]]],
) -> None:
    """Draws what a category that is finished lacks, as far as its files hold it.

    rows: of metrics.jsonl. Maps are not kept, so figures of maps stay as they are.
    """

    def lacks(file: str) -> bool:
        paths = style.figure_paths(folder / file).values()
        return not all(path.exists() for path in paths)

    if lacks(CURVES):
        render_curves(folder, result)
    if lacks(LOSSES):
        render_losses(folder, rows())


def select_images(images: Sequence[TestImage], count: int) -> list[int]:
    """Indices to show: `count` structural and logical images, one good one.

    Different defect types first, so that the figure shows the breadth of the set; the
    choice does not look at the scores.
    """
    selected = []
    for kind in (STRUCTURAL, LOGICAL):
        seen = collections.Counter[str]()
        turns = []  # how many images of the same type come before one, and its index
        for i, image in enumerate(images):
            if image.kind == kind:
                name = image.regions[0].defect_name if image.regions else ""
                turns.append((seen[name], i))
                seen[name] += 1
        selected += [i for _, i in sorted(turns)[:count]]
    good = [i for i, image in enumerate(images) if image.kind == GOOD]
    return selected + good[:1]


def image_row(
    category: Category,
    i: int,
    maps: Mapping[str, np.ndarray],
    notes: Sequence[str] = (),
) -> map_grid.ImageRow:
    """Test image i with its maps, by the names of their columns, and notes on it."""
    test = category.test_images[i]
    scale = SHOWN_SIDE / max(test.height, test.width)
    size = (max(1, round(test.width * scale)), max(1, round(test.height * scale)))
    pixels = category.test[i]
    shown = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image = np.asarray(shown.resize(size, Image.Resampling.BICUBIC))
    defect = test.regions[0].defect_name if test.regions else ""
    title = defect.replace("_", " ") or short(test.kind)
    return map_grid.ImageRow(
        title=title,
        image=image.reshape(*image.shape[:2], -1),
        mask=_shrink_mask(test, size) if test.annotated else None,
        maps=maps,
        notes=tuple(note for note in notes if note != title),
    )


def _shrink_mask(test: TestImage, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(test.height * test.width, bool)
    for region in test.regions:
        mask[region.pixels] = True
    picture = Image.fromarray(mask.reshape(test.height, test.width))
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST), bool)
