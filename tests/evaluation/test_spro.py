"""AU-sPRO against the definition and against stored results of other programs."""

import json

import hypothesis
import numpy as np
import pytest
import tifffile
from helpers import spro_oracle as oracle
from hypothesis import strategies as st
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation import spro
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.map_files import map_file_source, map_path
from gcad_jax.evaluation.ranks import sorting
from gcad_jax.evaluation.ranks.rank import Precision, rank
from gcad_jax.evaluation.results import LIMITS, MEAN
from gcad_jax.evaluation.scores import score

CASES = [
    "all_negative",
    "basic",
    "multichannel_overlap",
    "saturation_edge",
    "ties_quantised",
]


def scores_of(images, maps, **precision):
    truth = GroundTruth.build(images)
    return score(truth, lambda i: maps[i], Precision(**precision))


def assert_equals_oracle(images, maps):
    scores = scores_of(images, maps)
    for key, limit in zip(LIMITS, (0.01, 0.05, 0.1, 0.3, 1.0), strict=True):
        for kind in (STRUCTURAL, LOGICAL):
            expected = oracle.auspro(images, maps, limit, kind=kind)
            assert scores.auspro[kind][key] == pytest.approx(expected, abs=1e-12)
        for defect in scores.defects:
            expected = oracle.auspro(images, maps, limit, defect=defect.name)
            assert defect.auspro[key] == pytest.approx(expected, abs=1e-12)


@st.composite
def categories(draw, full_saturation=False):
    """Small categories: mixed shapes, overlapping, nested, full and tiny regions."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 5, 50, 10**6]))  # of scores: ties or none
    kinds = draw(
        st.lists(st.sampled_from([GOOD, STRUCTURAL, LOGICAL]), min_size=1, max_size=6)
    )
    images, maps = [], []
    for number, kind in enumerate(kinds):
        height, width = random.integers(2, 9, 2)
        regions = []
        for _ in range(0 if kind == GOOD else random.integers(1, 4)):
            size = random.choice([1, 2, height * width, random.integers(1, 9)])
            mask = np.zeros(height * width, bool)
            mask[random.permutation(height * width)[:size]] = True
            name = random.choice(["dent", "extra", "missing"])
            absolute = float(random.integers(1, 2 * size + 1))
            threshold = 1.0 if full_saturation else absolute
            regions.append(oracle.region(name, mask, threshold, full_saturation))
        images.append(oracle.an_image(number, kind, height, width, regions))
        scores = random.integers(0, levels, (height, width)) / levels - 0.3
        maps.append(scores.astype(random.choice(["float32", "float64"])))
    return images, maps


@hypothesis.given(categories())
@hypothesis.settings(max_examples=80, deadline=None)
def test_equals_the_definition(category):
    images, maps = category
    assert_equals_oracle(images, maps)
    curves = scores_of(images, maps).curves
    for kind in curves:
        expected = oracle.auspro(images, maps, 1.0, kind=kind)
        points = np.array(curves[kind])
        assert (np.diff(points) >= -1e-12).all()
        assert points[-1] == pytest.approx(1)
        # The grid of rates is coarser than the curve, so only near the area.
        assert np.trapezoid(points, spro.RATES) == pytest.approx(expected, abs=0.02)


@hypothesis.given(categories(), st.randoms(use_true_random=False))
@hypothesis.settings(max_examples=40, deadline=None)
def test_range_and_invariance(category, random):
    images, maps = category
    before = scores_of(images, maps)
    for kind in (STRUCTURAL, LOGICAL, MEAN):
        for value in before.auspro[kind].values():
            assert value is None or 0 <= value <= 1 + 1e-12

    # Strictly increasing on the grid of scores, in float64, so ties stay ties.
    stretched = [np.exp(5 * m.astype(np.float64)) - 7 for m in maps]
    if all(m.dtype == maps[0].dtype for m in maps):
        assert scores_of(images, stretched).auspro == before.auspro

    order = list(range(len(images)))
    random.shuffle(order)
    after = scores_of([images[i] for i in order], [maps[i] for i in order])
    for kind in (STRUCTURAL, LOGICAL, MEAN):
        assert after.auspro[kind] == pytest.approx(before.auspro[kind], abs=1e-12)


@hypothesis.given(categories(full_saturation=True))
@hypothesis.settings(max_examples=20, deadline=None)
def test_is_pro_where_regions_saturate_at_their_area(category):
    images, maps = category
    absolute = [
        oracle.an_image(
            number,
            image.kind,
            image.height,
            image.width,
            [
                oracle.region(r.defect_name, np.isin(np.arange(99), r.pixels), 10**6, 0)
                for r in image.regions
            ],
        )
        for number, image in enumerate(images)
    ]
    assert scores_of(images, maps).auspro == scores_of(absolute, maps).auspro
    assert_equals_oracle(images, maps)


def test_by_hand():
    # Good image: 10 negatives with scores 0..9. One region {9.5, 4.5}, s = 2.
    # Above 9.5: no false positive; from 4.5 down: 5 of 10. The curve is 1/2 on
    # [0, 0.5] and 1 after it: area to 0.3 = 0.15, to 1 = 0.25 + 0.5.
    images = [
        oracle.an_image(0, GOOD, 2, 5),
        oracle.an_image(
            0, LOGICAL, 1, 2, [oracle.region("extra", np.ones(2), 2, False)]
        ),
    ]
    maps = [np.arange(10.0).reshape(2, 5), np.array([[9.5, 4.5]])]
    scores = scores_of(images, maps)
    assert scores.auspro[LOGICAL]["0.3"] == pytest.approx(0.5)
    assert scores.auspro[LOGICAL]["1.0"] == pytest.approx(0.75)
    at = dict(zip(np.round(spro.RATES, 3), scores.curves[LOGICAL], strict=True))
    assert (at[0.0], at[0.49], at[0.5], at[1.0]) == (0.5, 0.5, 1.0, 1.0)
    assert scores.auspro[STRUCTURAL]["0.05"] is None
    assert scores.auspro[MEAN]["0.05"] is None


def test_constant_maps_give_the_diagonal():
    images = [
        oracle.an_image(0, GOOD, 4, 4),
        oracle.an_image(0, STRUCTURAL, 4, 4, [oracle.region("dent", np.ones(4))]),
    ]
    scores = scores_of(images, [np.zeros((4, 4), np.float32)] * 2)
    for limit in (0.01, 0.05, 0.1, 0.3, 1.0):
        assert scores.auspro[STRUCTURAL][str(limit)] == pytest.approx(limit / 2)
    assert scores.curves[STRUCTURAL] == pytest.approx(spro.RATES)


def test_full_image_regions_without_good_images_have_no_rate():
    full = oracle.region("dent", np.ones(4))
    images = [oracle.an_image(0, STRUCTURAL, 2, 2, [full])]
    scores = scores_of(images, [np.eye(2, dtype=np.float32)])
    assert scores.auspro[STRUCTURAL]["0.05"] is None
    assert scores.curves == {}


def test_images_without_masks_count_for_the_image_score_only():
    dent = [oracle.region("dent", np.eye(4))]
    images = [
        oracle.an_image(0, GOOD, 4, 4),
        oracle.an_image(0, STRUCTURAL, 4, 4, dent),
        oracle.an_image(1, STRUCTURAL, 4, 4, annotated=False),
    ]
    maps = [np.full((4, 4), v, np.float32) for v in (1, 2, 0)]
    scores = scores_of(images, maps)
    assert scores.auroc[STRUCTURAL] == 0.5
    assert scores.auspro == scores_of(images[:2], maps[:2]).auspro


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 1])
def test_refuses_scores_that_are_not_finite(bad, where):
    dent = [oracle.region("dent", np.eye(4))]
    images = [
        oracle.an_image(0, GOOD, 4, 4),
        oracle.an_image(7, STRUCTURAL, 4, 4, dent),
    ]
    maps = [np.zeros((4, 4), np.float32) for _ in images]
    maps[where][2, 2] = bad
    with pytest.raises(UserError, match=images[where].name):
        scores_of(images, maps)


def test_refuses_maps_of_another_size():
    images = [oracle.an_image(3, GOOD, 4, 6)]
    with pytest.raises(UserError, match=r"good/003 has shape \(6, 4\)"):
        scores_of(images, [np.zeros((6, 4))])


def test_refuses_empty_masks_and_masks_of_good_images():
    empty = oracle.region("dent", np.zeros(4))
    with pytest.raises(UserError, match="no positive pixel"):
        GroundTruth.build([oracle.an_image(0, LOGICAL, 2, 2, [empty])])
    full = oracle.region("dent", np.ones(4))
    with pytest.raises(UserError, match="good images have none"):
        GroundTruth.build([oracle.an_image(0, GOOD, 2, 2, [full])])


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float16, np.int64, ">f4"])
def test_takes_every_real_type(dtype):
    random = np.random.default_rng(0)
    images = [
        oracle.an_image(0, GOOD, 6, 6),
        oracle.an_image(
            0, LOGICAL, 6, 6, [oracle.region("a", random.random(36) > 0.5)]
        ),
    ]
    maps = [random.integers(0, 9, (6, 6)).astype(dtype) for _ in images]
    assert_equals_oracle(images, maps)


def test_every_map_is_read_once():
    images = [
        oracle.an_image(0, GOOD, 2, 2),
        oracle.an_image(0, LOGICAL, 2, 2, [oracle.region("a", np.eye(2))]),
    ]
    read = []
    rank(GroundTruth.build(images), lambda i: read.append(i) or np.eye(2))
    assert sorted(read) == [0, 1]


@hypothesis.given(categories())
@hypothesis.settings(max_examples=20, deadline=None)
def test_sorting_in_parts_and_again_changes_nothing(category):
    """As for a category that is too large for the memory."""
    images, maps = category
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "CHUNK_PIXELS", 20)
        patch.setattr(sorting, "KEPT_BYTES", 0)
        patch.setattr(sorting, "PILOT", 10)
        found = scores_of(images, maps)
    expected = scores_of(images, maps)
    assert found.auspro == expected.auspro
    assert found.defects == expected.defects


@hypothesis.given(categories())
@hypothesis.settings(max_examples=30, deadline=None)
def test_each_image_is_the_mean_of_its_regions(category):
    images, maps = category
    scores = scores_of(images, maps)
    for i, image in enumerate(images):
        found = scores.image_auspro[i]
        if not image.regions:
            assert found is None
            continue
        # The oracle averages over regions: those of the others count by weight.
        of_kind = [im for im in images if im.kind == image.kind]
        for key, limit in zip(LIMITS, spro.LIMITS, strict=True):
            alone = oracle.auspro(images, maps, limit, kind=image.kind, only=i)
            if found is None:  # no negatives
                assert alone is None
            else:
                assert found[key] == pytest.approx(alone, abs=1e-12)
        assert of_kind


@hypothesis.given(categories())
@hypothesis.settings(max_examples=30, deadline=None)
def test_threshold_of_a_wanted_rate(category):
    images, maps = category
    for mode in ("exact", "binned"):
        scores = scores_of(images, maps, mode=mode)
        for kind, by_limit in scores.thresholds.items():
            negatives = oracle.negatives(images, maps, kind)
            for key, found in by_limit.items():
                if not negatives.size:
                    assert found is None
                    continue
                threshold, rate = found
                assert rate == (negatives > threshold).mean()
                assert rate <= float(key)
                if mode == "exact":
                    # The next lower score of a negative would mark too many.
                    lower = negatives[negatives < threshold]
                    if lower.size:
                        assert (negatives > lower.max()).mean() > float(key)


def reference_case(folder):
    """Test images of a case in the official layout, read without the package."""
    case = json.loads((folder / "case.json").read_text())
    data = folder / "dataset" / case["object_name"]
    defects = {
        entry["pixel_value"]: entry
        for entry in json.loads((data / "defects_config.json").read_text())
    }
    images = []
    for image in case["images"]:
        truth = data / "ground_truth" / image["kind"] / image["id"]
        regions = []
        for file in sorted(truth.glob("*.png")):
            mask = np.asarray(Image.open(file))
            entry = defects[mask.max()]
            regions.append(
                oracle.region(
                    entry["defect_name"],
                    mask,
                    entry["saturation_threshold"],
                    entry["relative_saturation"],
                )
            )
        images.append(
            oracle.an_image(int(image["id"]), image["kind"], *image["shape"], regions)
        )
    return case["object_name"], images


@pytest.mark.parametrize("mode", ["exact", "binned"])
@pytest.mark.parametrize("case", CASES)
def test_reference_cases(case, mode, real_data):
    folder = real_data / "spro_cases" / case
    name, images = reference_case(folder)
    paths = [map_path(folder / "anomaly_maps", name, image) for image in images]
    source = map_file_source(paths, images)
    scores = score(GroundTruth.build(images), source, Precision(mode=mode))
    exact = json.loads((folder / "exact.json").read_text())
    official = json.loads((folder / "metrics.json").read_text())
    bound = max(scores.bounds.values()) if mode == "binned" else 0
    assert bound <= 1e-5

    for kind, expected in exact["localization"]["auc_spro"].items():
        assert scores.auspro[kind] == pytest.approx(expected, abs=bound + 1e-6)
    for kind, by_limit in official["localization"]["auc_spro"].items():
        assert scores.auspro[kind]["0.05"] == pytest.approx(by_limit["0.05"], abs=5e-4)
    expected = exact["classification"]
    assert scores.auroc == pytest.approx(expected["auc_roc_mann_whitney"], abs=1e-6)
    for rule in (
        expected["auc_roc_official_tie_rule"],
        official["classification"]["auc_roc"],
    ):
        assert scores.auroc_official == pytest.approx(rule, abs=1e-6)
    assert {d.name for d in scores.defects} == set(exact["per_defect_type"])
    for defect in scores.defects:
        by_limit = exact["per_defect_type"][defect.name]
        assert defect.auspro == pytest.approx(by_limit, abs=defect.bound + 1e-6)


def test_the_list_of_reference_cases_is_whole(real_data):
    found = [p.name for p in (real_data / "spro_cases").iterdir() if p.is_dir()]
    assert sorted(found) == CASES
    assert tifffile  # maps are TIFF files
