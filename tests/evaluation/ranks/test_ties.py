"""Cells of one distinct score: kept apart where common, found where quantized."""

import threading

import numpy as np
import pytest
from evaluation.ranks.test_bins import assert_encloses
from evaluation.test_spro import scores_of
from helpers import spro_oracle as oracle

from gcad_jax.core.machine.threads import Scratch
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation.ranks import histogram
from gcad_jax.evaluation.ranks.bins import BLOCKS, LENGTH, Cells, sort_keys
from gcad_jax.evaluation.ranks.ties import AmbiguityTracker, isolate_common_scores


def normal(size=2**16):
    return np.random.default_rng(0).normal(size=size).astype(np.float32)


@pytest.mark.parametrize("common", [[0.0], [-1.0, 1.0], [-0.0, 0.25, 7.0]])
def test_common_scores_get_blocks_of_single_cells(common):
    scores = normal()
    for number, value in enumerate(common):
        scores[number::10] = value
    parts, quantized = isolate_common_scores(np.full(BLOCKS, 3.0), scores)
    assert not quantized
    apart = sort_keys(np.array(common, np.float32)) >> 16
    assert sorted(np.flatnonzero(parts == LENGTH)) == sorted(apart)
    assert (np.delete(parts, apart) == 3).all()


@pytest.mark.parametrize("levels", [20, 200, 5000])
def test_many_tied_scores_are_quantized(levels):
    scores = np.round(normal() * levels) / levels
    assert isolate_common_scores(np.ones(BLOCKS), scores)[1]
    # In cells of one score each there is nothing to look for.
    assert not isolate_common_scores(np.full(BLOCKS, LENGTH), scores)[1]


def test_neither():
    parts, quantized = isolate_common_scores(np.ones(BLOCKS), normal())
    assert not quantized
    assert (parts == 1).all()


def test_threads_together_find_what_one_finds():
    """A cell is ambiguous where two scores met, whichever threads met them."""
    cells = Cells.of(np.full(BLOCKS, 4))
    random = np.random.default_rng(1)
    maps = [random.integers(0, 300, 400) / 100 for _ in range(6)]
    maps = [
        m.astype(d) for m, d in zip(maps, [np.float32, np.float64] * 3, strict=True)
    ]
    places = [cells.place(m.astype(np.float32)) for m in maps]
    expected = np.zeros(cells.count, bool)
    of_cell: dict[int, set[float]] = {}
    for place, scores in zip(places, maps, strict=True):
        for cell, score in zip(place.tolist(), scores.tolist(), strict=True):
            of_cell.setdefault(cell, set()).add(score)
    expected[[cell for cell, scores in of_cell.items() if len(scores) > 1]] = True

    distinct = AmbiguityTracker(cells, quantized=True)
    for half in (slice(0, 3), slice(3, 6)):

        def see(half=half):
            for place, scores in zip(places[half], maps[half], strict=True):
                distinct.update(place, scores, scores.astype(np.float32), Scratch())

        thread = threading.Thread(target=see)
        thread.start()
        thread.join()
    np.testing.assert_array_equal(distinct.ambiguous(), expected)


def category():
    random = np.random.default_rng(5)
    mask = np.zeros((60, 70), bool)
    mask[5:30, 10:40] = True
    images = [
        oracle.an_image(0, GOOD, 60, 70),
        oracle.an_image(0, STRUCTURAL, 60, 70, [oracle.region("a", mask, 90, False)]),
        oracle.an_image(0, LOGICAL, 60, 70, [oracle.region("b", ~mask, 0.5)]),
    ]
    maps = [random.normal(0, 1, (60, 70)) for _ in images]
    for m in maps[1:]:
        m[5:30, 10:40] += 0.7
    return images, maps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("how", ["relu", "clipped"])
def test_common_scores_cost_no_second_pass(monkeypatch, dtype, how):
    images, maps = category()
    lowest, highest = {"relu": (0, np.inf), "clipped": (-1, 1)}[how]
    maps = [np.clip(m, lowest, highest).astype(dtype) for m in maps]
    passes = []
    count_cells = histogram.count_cells
    monkeypatch.setattr(
        histogram, "count_cells", lambda *a: passes.append(a[4]) or count_cells(*a)
    )
    found = scores_of(images, maps, mode="binned", tolerance=1e-3)
    assert passes == [False]
    assert max(found.bounds.values()) <= 1e-3
    assert_encloses(images, maps, found)
