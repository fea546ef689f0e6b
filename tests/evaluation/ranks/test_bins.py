"""Cells of scores, and the enclosure that counting by them gives."""

import hypothesis
import numpy as np
import pytest
from evaluation.test_spro import categories, scores_of
from helpers import spro_oracle as oracle
from hypothesis import strategies as st

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation import spro
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.ranks import bins, histogram
from gcad_jax.evaluation.ranks import rank as ranking
from gcad_jax.evaluation.ranks.bins import BLOCKS, LENGTH, Cells
from gcad_jax.evaluation.ranks.rank import Precision, rank
from gcad_jax.evaluation.results import LIMITS

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def cells(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parts = np.ones(BLOCKS, np.int64)
    chosen = random.integers(0, BLOCKS, 200)
    parts[chosen] = random.choice([2, 3, 7, 100, 4095], 200)
    parts[random.integers(0, BLOCKS, 3)] = LENGTH
    return Cells.of(parts)


@hypothesis.given(st.lists(finite, min_size=2, max_size=50))
def test_keys_ascend_with_the_scores(scores):
    scores = np.sort(np.array(scores, np.float32))
    keys = bins.sort_keys(scores).astype(np.int64)
    assert ((np.diff(keys) > 0) == (np.diff(scores) > 0)).all()
    assert (np.diff(keys) >= 0).all()


@hypothesis.given(cells(), st.lists(finite, min_size=2, max_size=50))
@hypothesis.settings(max_examples=40, deadline=None)
def test_cells_ascend_with_the_scores_and_end_where_they_say(cells, scores):
    scores = np.sort(np.array(scores, np.float32))
    places = cells.place(scores)
    assert (np.diff(places) >= 0).all()
    assert 0 <= places[0] <= places[-1] < cells.count
    highest = cells.highest()[places]
    assert (highest >= scores).all()
    np.testing.assert_array_equal(cells.place(highest), places)
    inside = highest < np.finfo(np.float32).max
    after = np.nextafter(highest, np.float32(np.inf), where=inside, out=highest.copy())
    assert (cells.place(after[inside]) > places[inside]).all()
    single = cells.single()[places] & (scores != 0)  # 0.0 and -0.0 are one score
    np.testing.assert_array_equal(highest[single], scores[single])


def assert_encloses(images, maps, found):
    """Of every kind and type the value is as near to the definition as it says."""
    for key, limit in zip(LIMITS, spro.LIMITS, strict=True):
        for kind in (STRUCTURAL, LOGICAL):
            exact = oracle.auspro(images, maps, limit, kind=kind)
            if exact is None:
                assert found.auspro[kind][key] is None
                continue
            assert abs(found.auspro[kind][key] - exact) <= found.bounds[kind] + 1e-12
        for defect in found.defects:
            exact = oracle.auspro(images, maps, limit, defect=defect.name)
            if exact is not None:
                assert abs(defect.auspro[key] - exact) <= defect.bound + 1e-12


@hypothesis.given(categories(), st.sampled_from([1.0, 0.1, 1e-2, 1e-5]))
@hypothesis.settings(max_examples=60, deadline=None)
def test_encloses_the_definition(category, tolerance):
    images, maps = category
    maps = [m.astype(np.float32) for m in maps]
    found = scores_of(images, maps, mode="binned", tolerance=tolerance)
    assert not found.exact
    assert_encloses(images, maps, found)
    for bound in [*found.bounds.values(), *(d.bound for d in found.defects)]:
        assert bound <= tolerance


@hypothesis.given(categories(), st.sampled_from(["decades", "crowded", "zeros"]))
@hypothesis.settings(max_examples=60, deadline=None)
def test_encloses_adversarial_scores(category, how):
    images, maps = category
    spread = {
        "decades": lambda m: np.exp(25 * m.astype(np.float64)),
        # Neighboring float64 numbers that are one float32, on either side of a block.
        "crowded": lambda m: 1 + 1e-9 * m.astype(np.float64),
        "zeros": lambda m: np.where(m > 0.3, m, -0.0).astype(np.float64),
    }[how]
    maps = [spread(m) for m in maps]
    assert_encloses(images, maps, scores_of(images, maps, mode="binned"))


def test_a_wrong_sample_costs_a_pass_and_no_correctness(monkeypatch):
    monkeypatch.setattr(histogram, "choose_cells", lambda *_: (np.ones(BLOCKS), False))
    passes = []
    count_cells = histogram.count_cells
    monkeypatch.setattr(
        histogram, "count_cells", lambda *a: passes.append(1) or count_cells(*a)
    )
    images, maps = large()
    found = scores_of(images, maps, mode="binned", tolerance=1e-4)
    assert len(passes) > 1
    assert max(found.bounds.values()) <= 1e-4
    assert_encloses(images, maps, found)


def large():
    random = np.random.default_rng(3)
    mask = np.zeros((40, 50), bool)
    mask[5:20, 10:30] = True
    images = [
        oracle.an_image(0, GOOD, 40, 50),
        oracle.an_image(0, STRUCTURAL, 40, 50, [oracle.region("a", mask, 90, False)]),
        oracle.an_image(0, LOGICAL, 40, 50, [oracle.region("b", mask.T.copy(), 0.5)]),
    ]
    maps = [random.gamma(2, 0.1, (40, 50)).astype(np.float32) for _ in images]
    for m in maps[1:]:
        m[5:20, 10:30] += 0.2
    return images, maps


def test_values_of_both_modes_agree():
    images, maps = large()
    exact = scores_of(images, maps, mode="exact")
    binned = scores_of(images, maps, mode="binned")
    assert exact.exact
    assert set(exact.bounds.values()) == {0.0}
    for kind in (STRUCTURAL, LOGICAL):
        assert binned.auspro[kind] == pytest.approx(exact.auspro[kind], abs=1e-5)
        # The curve may differ by what one cell adds.
        np.testing.assert_allclose(binned.curves[kind], exact.curves[kind], atol=0.02)
    assert binned.image_scores == exact.image_scores
    assert binned.auroc == exact.auroc


def test_auto_takes_the_exact_mode_where_it_is_quick(monkeypatch):
    images, maps = large()
    truth = GroundTruth.build(images)
    assert rank(truth, lambda i: maps[i]).exact
    monkeypatch.setattr(ranking, "EXACT_PIXELS", 5999)
    assert not rank(truth, lambda i: maps[i]).exact


@pytest.mark.parametrize("fields", [{"mode": "fast"}, {"tolerance": 0.0}])
def test_refuses_other_precisions(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        Precision(**fields)


def test_auto_is_exact_where_cells_cannot_tell_scores_apart(monkeypatch):
    images, maps = large()
    close = [1 + 1e-12 * m.astype(np.float64) for m in maps]  # one float32
    monkeypatch.setattr(ranking, "EXACT_PIXELS", 0)
    found = scores_of(images, close)
    assert found.exact
    assert found.auspro == scores_of(images, close, mode="exact").auspro
    assert max(scores_of(images, close, mode="binned").bounds.values()) > 1e-5
