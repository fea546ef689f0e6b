"""A run of a method with an image score of its own: every file says what decided."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles, runs

import gcad_jax
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import COMBINED, MAP_MAXIMUM
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation.auroc import auroc
from gcad_jax.evaluation.result_files import read_result
from gcad_jax.runs import merge, train_and_evaluate

SEEDS = (0, 3)


def config(method=doubles.Judged, seeds=SEEDS):
    """Circles of several test images, so that both scores rank them differently."""
    data = runs.circles(num_validation=5, num_test=6)
    return runs.tiny(data=data, method=method(epochs=3, batch_size=2), seeds=seeds)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    [result] = train_and_evaluate.run(config(), str(folder))
    return folder, result


@pytest.fixture(scope="module")
def circles():
    return config().data.load("circles", doubles.SIDE, 3)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The same run as two tasks, one for each seed."""
    root = tmp_path_factory.mktemp("parts")
    for seed in SEEDS:
        train_and_evaluate.run(config(seeds=(seed,)), str(root / str(seed)))
    return root


def test_both_scores_are_in_the_results(whole, circles):
    folder, result = whole
    assert read_result(folder / "circles") == result
    assert result.image_score == doubles.DARKNESS
    darkness = doubles.darkness(circles.test)
    kinds = np.array([kind for _, kind in result.images])
    for scores in result.combined:
        found = scores.method_scores
        np.testing.assert_allclose(found.image_scores, darkness, rtol=1e-5)
        for kind in (STRUCTURAL, LOGICAL):
            of_kind = auroc(darkness[kinds == GOOD], darkness[kinds == kind])
            assert found.auroc[kind] == of_kind
        assert found.auroc != scores.auroc, "the data tell the two apart"
    validation = doubles.darkness(circles.validation)
    for scores in result.method_validation:
        np.testing.assert_allclose(scores, validation, rtol=1e-5)
    assert result.method_validation != result.validation


def test_official_metrics_are_those_of_the_maximum_of_the_map(whole, tmp_path):
    """All that the method without the score of its own leaves is the same."""
    folder, result = whole
    [of_map] = train_and_evaluate.run(config(doubles.Scored), str(tmp_path))
    metrics = [
        json.loads((place / "circles/metrics.json").read_text())
        for place in (folder, tmp_path)
    ]
    assert metrics[0] == metrics[1]
    assert of_map.validation == result.validation
    assert not of_map.has_method_scores
    for ours, theirs in zip(result.combined, of_map.combined, strict=True):
        assert dataclasses.replace(ours, method_scores=None) == theirs


@pytest.mark.parametrize("seed", SEEDS)
def test_predict_decides_as_the_run_scored(whole, circles, seed):
    folder, result = whole
    place = SEEDS.index(seed)
    detector = gcad_jax.load(folder, seed=seed)
    assert detector.image_score_name == doubles.DARKNESS
    assert detector.validation_scores == result.method_validation[place]
    scales = detector.stored.scales[COMBINED].image_scores
    assert scales == result.validation[place]
    found = detector.predict(list(circles.test), fpr=0.2)
    expected = result.combined[place].method_scores.image_scores
    np.testing.assert_allclose([p.score for p in found], expected, rtol=1e-5)
    limit = sorted(detector.validation_scores)[-1]  # the fifth of five
    assert [p.anomalous for p in found] == [score > limit for score in expected]


def test_report_and_terminal_show_both(whole, tmp_path, capsys):
    train_and_evaluate.run(config(), str(tmp_path))
    said = capsys.readouterr().out
    assert "(of images by the maximum of the map)" in said
    assert f"(of images by {doubles.DARKNESS})" in said
    report = (tmp_path / "report.md").read_text()
    assert "### Image AU-ROC of the score that decides" in report
    assert f"{doubles.DARKNESS}, which decides" in report


def test_merged_seeds_keep_their_scores(whole, parts, tmp_path):
    merge.merge(f"{parts}/*", str(tmp_path / "merged"))
    merged, (_, result) = read_result(tmp_path / "merged/circles"), whole
    assert merged.image_score == result.image_score
    np.testing.assert_allclose(
        merged.method_validation, result.method_validation, rtol=1e-5
    )
    for ours, theirs in zip(merged.combined, result.combined, strict=True):
        np.testing.assert_allclose(
            ours.method_scores.image_scores,
            theirs.method_scores.image_scores,
            rtol=1e-5,
        )


def test_parts_that_decide_otherwise_are_not_merged(parts, tmp_path):
    """One was evaluated when the method had no score of its own yet."""
    for file in parts.rglob("*.json"):
        copy = tmp_path / "parts" / file.relative_to(parts)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    file = tmp_path / f"parts/{SEEDS[1]}/circles/details.json"
    details = json.loads(file.read_text())
    details |= {"image_score": MAP_MAXIMUM, "method_validation": []}
    file.write_text(json.dumps(details))
    with pytest.raises(UserError, match="another image score"):
        merge.merge(str(tmp_path / "parts/*"), str(tmp_path / "merged"))


def test_a_score_that_is_no_number_sets_no_threshold(tmp_path):
    class Lost(doubles.Judged):
        def image_scores(self, detector, images, combined):
            return jnp.full(images.shape[0], jnp.nan)

    with pytest.raises(UserError, match=r"circles: the image score of a good valid"):
        train_and_evaluate.run(config(Lost), str(tmp_path))
    assert not list(tmp_path.rglob("detectors"))
