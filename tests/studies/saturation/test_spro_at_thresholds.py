"""AU-sPRO at drawn thresholds against scoring with ground truth that has them."""

import dataclasses
import math

import numpy as np
import pytest
from helpers import spro_oracle as oracle

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.ranks.rank import Precision, rank
from gcad_jax.evaluation.scores import score
from gcad_jax.evaluation.spro import LIMITS
from gcad_jax.studies.saturation.config import SaturationStudy
from gcad_jax.studies.saturation.sampling import sample_thresholds
from gcad_jax.studies.saturation.spro_at_thresholds import auspro_at_thresholds

KINDS = (STRUCTURAL, LOGICAL)
SIDES = (16, 12)
MODES = (Precision("exact"), Precision("binned", 1e-5), Precision("binned", 1e-2))


def sample(truth, category="pushpins", **fields):
    return sample_thresholds(SaturationStudy(**fields), truth, category)


def images():
    """Types shared by both kinds, overlapping regions, relative and full-area ones."""
    random = np.random.default_rng(0)
    types = {"a": (40, False), "b": (9, False), "c": (0.5, True), "d": (5000, False)}
    found = [oracle.an_image(n, GOOD, *SIDES) for n in range(3)]
    for n in range(10):
        regions = []
        for name in random.choice(list(types), 2):
            mask = np.zeros(SIDES, bool)
            top, left = random.integers(0, 5, 2)
            mask[top : top + random.integers(5, 12), left : left + 7] = True
            regions.append(oracle.region(name, mask, *types[name]))
        found.append(oracle.an_image(n, KINDS[n % 2], *SIDES, regions))
    return found


IMAGES = images()
TRUTH = GroundTruth.build(IMAGES)


def maps(form: str) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    scores = random.normal(size=(len(IMAGES), *SIDES))
    if form == "ties":
        scores = np.maximum(np.round(scores * 2), 0)
    if form == "constant":
        scores = np.zeros_like(scores)
    return list(scores.astype(np.float32))


def with_thresholds(thresholds) -> list:
    """The images with other thresholds, by type."""
    changed = []
    for image in IMAGES:
        regions = tuple(
            dataclasses.replace(r, saturation_threshold=thresholds[r.defect_name])
            if r.defect_name in thresholds
            else r
            for r in image.regions
        )
        changed.append(dataclasses.replace(image, regions=regions))
    return changed


@pytest.mark.parametrize("precision", MODES, ids=lambda p: f"{p.mode} {p.tolerance}")
@pytest.mark.parametrize("form", ["normal", "ties", "constant"])
def test_each_draw_is_the_score_with_its_thresholds(form, precision):
    scores = maps(form)
    ranking = rank(TRUTH, scores.__getitem__, precision)
    sampled = sample(TRUTH, num_draws=4, seed=3)
    assert sorted(sampled) == ["a", "b", "c"]
    for kind in KINDS:
        values, bound = auspro_at_thresholds(ranking.kinds[kind], TRUTH, sampled)
        assert values.shape == (len(LIMITS), 5)
        for column in range(5):
            # "a" has regions of less than 40 pixels, which stay at their area.
            thresholds = {name: float(d.all[column]) for name, d in sampled.items()}
            changed = with_thresholds(thresholds)
            for r in np.flatnonzero(TRUTH.areas <= TRUTH.saturations):
                small, i = TRUTH.regions[r], TRUTH.region_images[r]
                changed[i] = replaced(changed[i], small)
            for n in (1, 3) if column in (0, 4) else ():
                exact = oracle.auspro(changed, scores, LIMITS[n], kind)
                assert values[n, column] == pytest.approx(exact, abs=bound + 1e-12)
            again = score(GroundTruth.build(changed), scores.__getitem__, precision)
            assert list(again.auspro[kind].values()) == pytest.approx(
                values[:, column], abs=1e-12
            )
        if precision.mode == "exact":
            assert bound == 0


def replaced(image, region):
    """The image with a region as it was."""
    regions = tuple(region if r.pixels is region.pixels else r for r in image.regions)
    return dataclasses.replace(image, regions=regions)


def test_some_regions_stay_at_their_area():
    # Otherwise the test above would not show that they do.
    a = [r for r, region in enumerate(TRUTH.regions) if region.defect_name == "a"]
    assert 0 < (TRUTH.areas[a] <= 40).sum() < len(a)


@pytest.mark.parametrize("precision", MODES, ids=lambda p: f"{p.mode} {p.tolerance}")
def test_draws_of_the_original_are_the_score(precision):
    scores = maps("normal")
    ranking = rank(TRUTH, scores.__getitem__, precision)
    sampled = sample(TRUTH, num_draws=3, low=1, high=1)
    expected = score(TRUTH, scores.__getitem__, precision)
    for kind in KINDS:
        values, bound = auspro_at_thresholds(ranking.kinds[kind], TRUTH, sampled)
        assert (values == values[:, :1]).all()
        assert list(expected.auspro[kind].values()) == pytest.approx(
            values[:, 0], abs=1e-12
        )
        assert bound == pytest.approx(expected.bounds[kind], abs=1e-12)


def test_nothing_drawn_is_the_score():
    scores = maps("normal")
    ranking = rank(TRUTH, scores.__getitem__)
    values, _ = auspro_at_thresholds(ranking.kinds[LOGICAL], TRUTH, {})
    expected = score(TRUTH, scores.__getitem__).auspro[LOGICAL]
    assert values.shape == (len(LIMITS), 1)
    assert list(expected.values()) == pytest.approx(values[:, 0], abs=1e-12)


def test_no_negatives():
    full = oracle.region("a", np.ones(SIDES, bool), 7.0, False)
    truth = GroundTruth.build([oracle.an_image(0, LOGICAL, *SIDES, [full])])
    ranking = rank(truth, lambda _: np.zeros(SIDES, np.float32))
    assert (
        auspro_at_thresholds(
            ranking.kinds[LOGICAL], truth, sample(truth, "x", num_draws=5)
        )
        is None
    )


def test_thresholds():
    sampled = sample(TRUTH, num_draws=4000, seed=1)
    assert sorted(sampled) == ["a", "b", "c"]  # "d" is above every area
    for name, original in (("a", 40), ("b", 9)):
        first, *others = sampled[name].all
        assert first == sampled[name].original == original
        assert min(others) == math.ceil(original * 0.5)
        assert max(others) == math.floor(original * 1.5)
        # Uniform over the inner whole numbers, 1 / original each.
        counts = np.bincount(others)[original // 2 + 1 : original * 3 // 2]
        assert counts.mean() == pytest.approx(4000 / original, rel=0.1)
    correlation = np.corrcoef(sampled["a"].all[1:], sampled["b"].all[1:])[0, 1]
    assert abs(correlation) < 0.06  # each on its own
    assert sampled["b"].regions == sum(
        r.defect_name == "b" and r.area > 9 for r in TRUTH.regions
    )


def test_relative_thresholds():
    shares = sample(TRUTH, num_draws=4000, seed=1)["c"]
    assert shares.relative
    assert shares.all[0] == shares.original == 0.5
    assert shares.all.min() == pytest.approx(0.25, abs=1e-3)
    assert shares.all.max() == pytest.approx(0.75, abs=1e-3)
    assert shares.all.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.regions == sum(r.defect_name == "c" for r in TRUTH.regions)
    stay = sample(TRUTH, num_draws=9, vary_relative=False)
    assert sorted(stay) == ["a", "b"]
    assert [stay["a"].relative, stay["b"].relative] == [False, False]


def test_sizes_of_a_region():
    pixels = sample(TRUTH, num_draws=300)["b"]  # 9 of them
    assert {5, 9, 13} <= set(pixels.values.tolist()) <= set(range(4, 15))
    assert pixels.sizes(12).tolist() == [min(p, 12) for p in pixels.values]
    shares = sample(TRUTH, num_draws=300, low=0.001, high=3)["c"]
    # As the official program does: whole pixels, cut off; at least 1, at most all.
    expected = [min(max(int(share * 7), 1), 7) for share in shares.values]
    assert shares.sizes(7).tolist() == expected
    assert set(expected) == {1, 2, 3, 4, 5, 6, 7}


def test_a_type_has_one_threshold():
    regions = [oracle.region("a", np.ones(SIDES), t, False) for t in (2.0, 3.0)]
    truth = GroundTruth.build([oracle.an_image(0, LOGICAL, *SIDES, regions)])
    with pytest.raises(ValueError, match="'a' has the thresholds 2 and 3"):
        sample(truth, num_draws=1)


def test_thresholds_are_at_least_one_pixel():
    sampled = sample(TRUTH, num_draws=200, low=0.001, high=0.2)
    assert sampled["b"].all.min() == 1


def test_thresholds_depend_on_seed_category_and_type_alone():
    def of(images=IMAGES, category="pushpins", seed=0):
        return sample(GroundTruth.build(images), category, num_draws=50, seed=seed)[
            "b"
        ].all.tolist()

    assert of() == of() == of(IMAGES[::-1])
    without_a = [
        dataclasses.replace(
            i, regions=tuple(r for r in i.regions if r.defect_name != "a")
        )
        for i in IMAGES
    ]
    assert of() == of(without_a)
    assert of() != of(seed=1)
    assert of() != of(category="screw_bag")
