"""Branches, seeds, and the schema of the files."""

import dataclasses
import json
import statistics

import numpy as np
import pytest
from helpers import spro_oracle as oracle

from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.data.resize import upsample
from gcad_jax.evaluation import result_files as files
from gcad_jax.evaluation.results import LIMITS, MEAN, CategoryResult
from gcad_jax.evaluation.scores import evaluate

KIND_KEYS = {"structural_anomalies", "logical_anomalies", "mean"}


@pytest.fixture(scope="module")
def category():
    random = np.random.default_rng(3)
    kinds = [GOOD, GOOD, GOOD, STRUCTURAL, STRUCTURAL, LOGICAL, LOGICAL]
    images = []
    for number, kind in enumerate(kinds):
        mask = np.zeros((20, 30), bool)
        mask[5:12, 4 + number : 14] = True
        name = {STRUCTURAL: "dent", LOGICAL: "missing"}.get(kind)
        regions = [oracle.region(name, mask)] if name else []
        images.append(oracle.an_image(number, kind, 20, 30, regions))
    maps = random.random((2, len(kinds), 8, 8), np.float32)
    return images, {"A": maps, "A_loc": maps[:, :, ::-1] * 2}


@pytest.fixture(scope="module")
def result(category):
    images, maps = category
    return CategoryResult(
        dataset="mvtec_loco_ad",
        name="juice_bottle",
        complete=False,
        notes=("a note",),
        seeds=(0, 7),
        images=tuple((image.name, image.kind) for image in images),
        branches=evaluate(images, maps),
        validation=((0.25, 0.5), (0.125, 0.75)),
    )


def test_every_branch_and_seed_at_full_size(category, result):
    images, maps = category
    for branch, scores in result.branches.items():
        for seed in (0, 1):
            full = [upsample(m, 20, 30) for m in maps[branch][seed]]
            for kind in (STRUCTURAL, LOGICAL):
                expected = oracle.auspro(images, full, 0.05, kind=kind)
                found = scores[seed].auspro[kind]["0.05"]
                assert found == pytest.approx(expected, abs=1e-12)
            top = [float(m.max()) for m in full]
            assert scores[seed].image_scores == pytest.approx(top)
            expected = oracle.auroc(top[:3], top[3:5])
            assert scores[seed].auroc[STRUCTURAL] == pytest.approx(expected)


def test_progress_names_each_turn(category):
    turns = []
    evaluate(*category, progress=turns.append)
    assert turns == [
        "A, seed 1 of 2",
        "A, seed 2 of 2",
        "A_loc, seed 1 of 2",
        "A_loc, seed 2 of 2",
    ]


def test_nan_names_branch_seed_and_image(category):
    images, maps = category
    bad = maps["A_loc"].copy()
    bad[1, 4, 0, 0] = np.nan
    with pytest.raises(UserError, match=rf"A_loc, seed 2 of 2: .*{images[4].name}"):
        evaluate(images, {"A": maps["A"], "A_loc": bad})


def test_official_schema(result):
    values = files.official_metrics(result.combined)
    assert set(values) == {"classification", "localization"}
    assert set(values["classification"]) == {"auc_roc"}
    assert set(values["classification"]["auc_roc"]) == KIND_KEYS
    assert set(values["localization"]) == {"auc_spro"}
    assert set(values["localization"]["auc_spro"]) == KIND_KEYS
    for by_limit in values["localization"]["auc_spro"].values():
        assert list(by_limit) == ["0.01", "0.05", "0.1", "0.3", "1.0"]
    seeds = [scores.auspro[LOGICAL]["0.1"] for scores in result.combined]
    found = values["localization"]["auc_spro"][LOGICAL]["0.1"]
    assert found == pytest.approx(sum(seeds) / 2)
    both = values["localization"]["auc_spro"]
    half = (both[STRUCTURAL]["0.3"] + both[LOGICAL]["0.3"]) / 2
    assert both[MEAN]["0.3"] == pytest.approx(half)


def test_files_and_back(tmp_path, result):
    files.write_result(tmp_path / "juice_bottle", result)
    folder = tmp_path / "juice_bottle"
    assert sorted(p.name for p in folder.iterdir()) == ["details.json", "metrics.json"]
    text = (folder / "metrics.json").read_text()
    values = json.loads(text)
    assert text == json.dumps(values, indent=4, sort_keys=True) + "\n"
    assert values == files.official_metrics(result.combined)
    assert files.read_result(folder) == result

    details = json.loads((folder / "details.json").read_text())
    seeds = [scores.auroc[LOGICAL] for scores in result.combined]
    std = details["summary"]["A"]["std"]["classification"]["auc_roc"][LOGICAL]
    assert std == pytest.approx(statistics.stdev(seeds))
    assert details["branches"]["A_loc"][1]["defects"][0]["name"] == "dent"


def test_null_where_a_kind_is_missing(tmp_path, category):
    images, maps = category
    chosen = [i for i, image in enumerate(images) if image.kind != LOGICAL]
    scores = evaluate([images[i] for i in chosen], {"A": maps["A"][:, chosen]})["A"]
    files.write_metrics(tmp_path / "metrics.json", files.official_metrics(scores))
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["classification"]["auc_roc"][LOGICAL] is None
    assert values["classification"]["auc_roc"][MEAN] is None
    assert values["localization"]["auc_spro"][MEAN] == dict.fromkeys(LIMITS)
    assert values["localization"]["auc_spro"][STRUCTURAL]["0.05"] > 0


def by_method(category):
    """Scores of the method's own, of two seeds: others than the maxima of the maps."""
    images, _ = category
    return np.random.default_rng(8).random((2, len(images)), np.float32)


def test_image_scores_of_the_method_stand_beside_those_of_the_map(category, result):
    images, maps = category
    given = by_method(category)
    scores = evaluate(images, maps, method_scores=given)
    for seed, of_seed in enumerate(scores["A"]):
        found, values = of_seed.method_scores, [float(x) for x in given[seed]]
        assert found.image_scores == of_seed.decision_scores == tuple(values)
        structural = oracle.auroc(values[:3], values[3:5])
        assert found.auroc[STRUCTURAL] == pytest.approx(structural)
        assert found.auroc_official[STRUCTURAL] == pytest.approx(structural)
        logical = oracle.auroc(values[:3], values[5:])
        assert found.auroc[MEAN] == pytest.approx((structural + logical) / 2)
        assert found.defects == pytest.approx({"dent": structural, "missing": logical})
        # All else is what it is without them: metrics.json is that of the map.
        without = result.branches["A"][seed]
        assert dataclasses.replace(of_seed, method_scores=None) == without
        assert without.decision_scores == without.image_scores != found.image_scores
    assert files.official_metrics(scores["A"]) == files.official_metrics(
        result.combined
    )
    assert scores["A_loc"][0].method_scores is None


def test_a_score_that_is_no_number_names_the_image(category):
    images, maps = category
    scores = by_method(category)
    scores[1, 4] = np.inf
    with pytest.raises(UserError, match=rf"A, seed 2 of 2: .*{images[4].name} is NaN"):
        evaluate(images, maps, method_scores=scores)


def test_image_scores_of_the_method_come_back_from_their_files(
    tmp_path, category, result
):
    images, maps = category
    branches = evaluate(images, maps, method_scores=by_method(category))
    decided = dataclasses.replace(
        result,
        branches=branches,
        image_score="distance",
        method_validation=((3.0, 2.0), (1.0, 4.0)),
    )
    files.write_result(tmp_path, decided)
    assert files.read_result(tmp_path) == decided
    details = json.loads((tmp_path / "details.json").read_text())
    by_seed = [s.method_scores.auroc[MEAN] for s in branches["A"]]
    summary = details["summary"]["A"]["method_scores"]
    assert summary["mean"]["auc_roc"][MEAN] == pytest.approx(statistics.fmean(by_seed))
    assert summary["std"]["auc_roc"][MEAN] == pytest.approx(statistics.stdev(by_seed))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == files.official_metrics(result.combined)


def test_results_of_version_0_1_0_are_decided_by_the_maximum(tmp_path, result):
    files.write_result(tmp_path, result)
    details = json.loads((tmp_path / "details.json").read_text())
    del details["image_score"], details["method_validation"]
    for seeds in details["branches"].values():
        for scores in seeds:
            del scores["method_scores"]
    (tmp_path / "details.json").write_text(json.dumps(details))
    again = files.read_result(tmp_path)
    assert again == result
    assert not again.has_method_scores


def test_no_test_images():
    scores = evaluate([], {"A": np.zeros((1, 0, 8, 8), np.float32)})["A"]
    assert scores[0].auroc == dict.fromkeys((STRUCTURAL, LOGICAL, MEAN))
    assert scores[0].defects == ()


def test_nothing_half_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_metrics(tmp_path / "metrics.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        files.write_metrics(tmp_path / "file" / "metrics.json", {})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dataset": 1', "3"])
def test_damaged_details(tmp_path, text):
    (tmp_path / "details.json").write_text(text)
    with pytest.raises(UserError, match=r"details\.json does not hold the results"):
        files.read_result(tmp_path)
    with pytest.raises(UserError, match="does not hold"):
        files.read_result(tmp_path / "elsewhere")
