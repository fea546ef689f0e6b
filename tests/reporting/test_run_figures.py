"""Which images a figure shows, and what stands in its rows."""

import dataclasses
import pathlib

import numpy as np
import pytest
from helpers import made_results

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL, Category, Region, TestImage
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.evaluation.results import CategoryResult
from gcad_jax.evaluation.scores import evaluate
from gcad_jax.evaluation.spro import RATES
from gcad_jax.reporting import run_figures


def image(kind: str, defect: str = "", number: int = 0) -> TestImage:
    pixels = np.array([number], np.int32)
    regions = (Region(defect, 255, 1.0, True, pixels),) if defect else ()
    return TestImage(f"{kind}/{number:03}", kind, 4, 6, regions)


IMAGES = [
    image(GOOD),
    image(GOOD, number=1),
    image(STRUCTURAL, "scratch"),  # 2
    image(STRUCTURAL, "scratch", 1),
    image(STRUCTURAL, "scratch", 2),
    image(STRUCTURAL, "dent", 3),  # 5
    image(LOGICAL, "missing"),  # 6
    image(LOGICAL, "extra", 1),
    image(LOGICAL, "missing", 2),
]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [2, 6, 0]),
        # One of each defect type before a second of any.
        (2, [2, 5, 6, 7, 0]),
        (3, [2, 5, 3, 6, 7, 8, 0]),
        (9, [2, 5, 3, 4, 6, 7, 8, 0]),
        (0, [0]),
    ],
)
def test_choice(count: int, expected: list[int]) -> None:
    assert run_figures.select_images(IMAGES, count) == expected


def test_choice_without_some_kinds() -> None:
    assert run_figures.select_images([], 3) == []
    assert run_figures.select_images(IMAGES[:2], 3) == [0]
    assert run_figures.select_images([image(LOGICAL, "missing")], 3) == [0]


def test_images_without_masks_are_shown() -> None:
    bare = TestImage("crack/000", STRUCTURAL, 4, 6, (), annotated=False)
    assert run_figures.select_images([bare], 1) == [0]


def category(test: TestImage, channels: int = 3) -> Category:
    pixels = np.zeros((1, 8, 8, channels), np.uint8)
    pixels[:, 4:, :] = 200  # lower half bright
    return Category(
        "set", "name", pixels, pixels, pixels, (test,), Augmentation(), False
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_row_has_the_shape_of_the_original(channels: int) -> None:
    region = Region("missing_part", 255, 1.0, True, np.array([3 * 200 + 5], np.int32))
    test = TestImage("logical_anomalies/000", LOGICAL, 100, 200, (region,))
    row = run_figures.image_row(category(test, channels), 0, {})
    assert row.title == "missing part"
    assert row.image.shape == (128, 256, channels)  # longer side 256, aspect kept
    assert row.image[:50].max() < 20
    assert row.image[78:].min() > 180
    assert row.mask is not None
    assert row.mask.shape == (128, 256)


def test_mask_lies_where_the_regions_are() -> None:
    # Image 128 x 256, shown at its own size: two regions, neither of them symmetric.
    height, width = 128, 256
    truth = np.zeros((height, width), bool)
    truth[10:14, 30:50] = True
    second = np.zeros_like(truth)
    second[100:128, 250:256] = True
    regions = tuple(
        Region(name, value, 1.0, True, np.flatnonzero(mask).astype(np.int32))
        for name, value, mask in (("a", 255, truth), ("b", 254, second))
    )
    test = TestImage("logical_anomalies/000", LOGICAL, height, width, regions)
    row = run_figures.image_row(category(test), 0, {})
    np.testing.assert_array_equal(row.mask, truth | second)


def test_good_images_have_an_empty_mask_and_bare_ones_none() -> None:
    good = run_figures.image_row(category(TestImage("good/000", GOOD, 4, 6)), 0, {})
    assert good.title == "good"
    assert good.mask is not None
    assert not good.mask.any()
    bare = TestImage("crack/000", STRUCTURAL, 4, 6, (), annotated=False)
    row = run_figures.image_row(category(bare), 0, {})
    assert row.title == "structural"
    assert row.mask is None


def test_links_are_relative_and_only_to_what_exists(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/maps.png").touch()
    (tmp_path / "two").mkdir()
    (tmp_path / "two/losses.png").touch()
    found = run_figures.list_figures(tmp_path, ["one", "two"])
    assert [f.path for f in found] == ["one/maps.png", "two/losses.png"]
    assert [f.about for f in found] == ["one", "two"]
    assert all(f.caption.startswith(f"{f.about}: ") for f in found)


@pytest.mark.parametrize("of_method", [False, True])
def test_worst_and_best_images_of_one_scale(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, of_method: bool
) -> None:
    """Good images of scores 0 to 3, structural ones of 1 to 4: in their maps, or by
    the method's own image score, and their maps say the opposite.
    """
    tests = [image(GOOD, number=i) for i in range(4)]
    tests += [image(STRUCTURAL, "scratch", i) for i in range(4)]
    values = np.array([0, 1, 2, 3, 1, 2, 3, 4], np.float32)
    in_maps = 4 - values if of_method else values
    maps = np.broadcast_to(in_maps[:, None, None], (8, 4, 4))[None]
    pixels = np.zeros((8, 8, 8, 3), np.uint8)
    of_set = Category(
        "set", "name", pixels, pixels, pixels, tuple(tests), Augmentation(), False
    )
    by_method = values[None] if of_method else None
    scores = evaluate(tests, {"A": maps}, method_scores=by_method)
    result = CategoryResult(
        "set", "name", False, (), (0,), tuple((t.name, t.kind) for t in tests), scores
    )
    drawn = []
    whole = run_figures.map_grid.render_map_grid

    def seen(rows, **fields):
        drawn.append(([row.notes[-3:] for row in rows], fields))
        return whole(rows, **fields)

    monkeypatch.setattr(run_figures.map_grid, "render_map_grid", seen)
    run_figures.render_figures(tmp_path, of_set, {"A": maps}, result, 3)
    _, (worst, first), (best, second) = drawn
    said = [
        [note[-2:] if note[-1][:2] != "AU" else note[:2] for note in n]
        for n in (worst, best)
    ]
    assert said[0] == [
        *(("score 1", "rank 6 of 8"), ("score 2", "rank 4 of 8")),
        *(("score 3", "rank 2 of 8"), ("score 2", "rank 4 of 8")),
    ]
    assert said[1] == [
        *(("score 4", "rank 1 of 8"), ("score 3", "rank 2 of 8")),
        *(("score 0", "rank 8 of 8"), ("score 1", "rank 6 of 8")),
    ]
    assert first["limits"] == second["limits"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        name for name in run_figures.FILES if not name.startswith("losses")
    )


def test_what_is_finished_gets_the_figures_that_it_lacks(
    tmp_path: pathlib.Path,
) -> None:
    curve = {STRUCTURAL: np.sqrt(RATES).tolist()}
    one = dataclasses.replace(made_results.scores(0.5, 0.5), curves=curve)
    result = made_results.result("name", [one])
    (tmp_path / "curves.png").write_text("of an earlier version")
    rows = [{"step": 1, "L_rec": 0.5}]
    run_figures.render_missing(tmp_path, result, lambda: rows)
    there = [
        f"{name}.{form}" for name in ("curves", "losses") for form in ("pdf", "png")
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == there
    assert (tmp_path / "curves.png").read_bytes()[1:4] == b"PNG"

    def never() -> list:
        raise AssertionError("nothing is missing, so nothing is read")

    before = (tmp_path / "losses.png").stat().st_mtime_ns
    run_figures.render_missing(tmp_path, result, never)
    assert (tmp_path / "losses.png").stat().st_mtime_ns == before
