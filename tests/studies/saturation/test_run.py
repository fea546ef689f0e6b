"""The study of the saturation thresholds as a job and as a command."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
from helpers import map_folders as folders
from helpers import runs
from helpers.study_runs import make_category, study_maps

from gcad_jax.core.fields import field_texts
from gcad_jax.evaluation import ground_truth_files, map_files
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.results import KIND_OR_MEAN, LIMITS
from gcad_jax.evaluation.scores import score
from gcad_jax.studies.saturation import run as saturation
from gcad_jax.studies.saturation.config import SaturationStudy
from gcad_jax.studies.saturation.report import OVERALL
from gcad_jax.studies.saturation.statistics import with_mean

OUTPUTS = [f"saturation.{form}" for form in ("html", "json", "md", "pdf", "png")]


@pytest.fixture
def root(tmp_path):
    make_category(tmp_path)
    return tmp_path


def expected(root: pathlib.Path, method: str):
    data = root / "data" / folders.NAME
    maps = map_files.list_maps(root / method / folders.NAME / "test")
    _, anomalous = ground_truth_files.anomalous_images(data)
    truth = GroundTruth.build((*ground_truth_files.good_images(data, maps), *anomalous))
    paths = [maps[image.name] for image in truth.images]
    return score(truth, map_files.map_file_source(paths, truth.images)).auspro


def test_two_methods(root):
    result, lines = study_maps(root, vary_relative=False)
    assert lines[0].startswith("study       1 category x 2 methods, 40 draws")
    assert sorted(p.name for p in (root / "out").iterdir()) == ["pushpins", *OUTPUTS]
    category = result["categories"]["pushpins"]
    assert result["overall"] is None
    assert result["methods"] == ["u", "v"]
    assert category["thresholds"] == {"missing": {"pixels": 4, "regions": 1}}
    assert (category["varying"], category["regions"]) == (1, 4)
    for method in "uv":
        scores = expected(root, method)
        assert set(category["auspro"][method]) == set(KIND_OR_MEAN)
        for kind, by_limit in category["auspro"][method].items():
            for limit, found in by_limit.items():
                assert found["original"] == pytest.approx(
                    scores[kind][limit], abs=1e-12
                )
                if kind.startswith("structural"):  # only relative thresholds
                    assert found["min"] == found["max"] == found["original"]
                    assert found["std"] == 0
                    assert found["mean"] == found["original"]
    assert category["auspro"]["u"]["logical_anomalies"]["0.3"]["std"] > 0
    (pair,) = category["pairs"]
    assert pair["methods"] == ["u", "v"]
    assert set(pair["changed"]["structural_anomalies"].values()) == {0}
    check_rankings(root / "out", category)
    text = (root / "out/saturation.md").read_text()
    assert "The saturation of 1 of 4 regions varies, by 1 threshold." in text
    assert "| logical | original |" in text
    assert max(map(len, text.splitlines())) <= 88


def check_rankings(out, category):
    """Changes and agreement of two methods, counted from the draws that were kept."""
    with np.load(out / "pushpins/draws.npz") as arrays:
        values, thresholds = arrays["auspro"], arrays["threshold/missing"]
    assert values.shape == (2, 2, len(LIMITS), 41)
    assert thresholds[0] == 4
    assert set(thresholds) <= {2, 3, 4, 5, 6}
    for n, limit in enumerate(LIMITS):
        u, v = with_mean(values)[:, 2, n]
        order = (u > v).astype(int) - (u < v)
        share = (order[1:] != order[0]).mean()
        assert category["pairs"][0]["changed"]["mean"][limit] == share
        found = category["ranking"]["mean"][limit]
        assert found["unchanged"] == 1 - share
        if order.all():
            tau = order[1:] * order[0]
            assert found["kendall_tau_mean"] == pytest.approx(tau.mean())
            assert found["kendall_tau_min"] == tau.min()


def test_relative_thresholds_below_one_vary(root):
    category = study_maps(root)[0]["categories"]["pushpins"]
    assert category["thresholds"] == {
        "missing": {"pixels": 4, "regions": 1},
        "dent": {"share_of_area": 0.5, "regions": 3},
    }
    assert category["varying"] == 4
    assert category["auspro"]["u"]["structural_anomalies"]["0.3"]["std"] > 0
    shares = np.load(root / "out/pushpins/draws.npz")["threshold/dent"]
    assert shares[0] == 0.5
    assert 0.25 <= shares.min() < shares.max() <= 0.75


def test_finished_categories_are_kept(root, monkeypatch):
    make_category(root, "screw_bag")
    first, _ = study_maps(root, object_names=("pushpins",))
    both, lines = study_maps(root)
    assert [line for line in lines if "kept" in line] == [
        "pushpins: its draws are kept from earlier"
    ]
    assert both["categories"]["pushpins"] == first["categories"]["pushpins"]

    monkeypatch.setattr(saturation, "rank", None)  # nothing is passed over again
    assert study_maps(root)[0] == both
    monkeypatch.undo()
    assert "kept" not in str(study_maps(root, seed=1)[1])

    # A map that changed, and a file that is damaged.
    make_category(root, methods="v")
    assert "pushpins: its draws are kept" not in str(study_maps(root, seed=1)[1])
    (root / "out/pushpins/draws.npz").write_bytes(b"PK\3\4")
    (root / "out/screw_bag/saturation.json").write_text("[]")
    assert "kept" not in str(study_maps(root, seed=1)[1])


def test_reproducible_by_seed(root):
    first, _ = study_maps(root)
    shutil.rmtree(root / "out")
    assert study_maps(root)[0] == first
    other = study_maps(root, seed=7)[0]["categories"]["pushpins"]["auspro"]["u"]
    assert other != first["categories"]["pushpins"]["auspro"]["u"]


def test_draws_do_not_depend_on_the_other_methods(root):
    both, _ = study_maps(root)
    alone, _ = study_maps(root, maps=(str(root / "v"),))
    one = alone["categories"]["pushpins"]
    assert one["auspro"]["v"] == both["categories"]["pushpins"]["auspro"]["v"]
    assert one["pairs"] == []
    assert one["ranking"]["mean"]["0.05"] is None


def test_overall_is_the_mean_over_the_categories(root):
    make_category(root, "screw_bag")
    result, _ = study_maps(root)
    for kind in KIND_OR_MEAN:
        means = [
            result["categories"][name]["auspro"]["u"][kind]["0.3"]["mean"]
            for name in ("pushpins", "screw_bag")
        ]
        found = result["overall"]["auspro"]["u"][kind]["0.3"]
        assert found["mean"] == pytest.approx(np.mean(means), abs=1e-12)
    assert f"## {OVERALL.capitalize()}" in (root / "out/saturation.md").read_text()


def test_a_kind_without_images(root):
    for folder in ("data/pushpins/ground_truth", "u/pushpins/test", "v/pushpins/test"):
        shutil.rmtree(root / folder / "structural_anomalies")
    result, _ = study_maps(root)
    category = result["categories"]["pushpins"]
    for kind in ("structural_anomalies", "mean"):
        assert set(category["auspro"]["u"][kind]["0.05"].values()) == {None}
        assert category["pairs"][0]["changed"][kind]["0.05"] is None
        assert category["ranking"][kind]["0.05"] is None
    assert category["auspro"]["u"]["logical_anomalies"]["0.05"]["mean"] is not None


def test_nothing_varies_in_mvtec_ad(tmp_path):
    folders.make_ad(tmp_path)
    result, lines = study_maps(
        tmp_path, maps=(str(tmp_path / "maps"),) * 2, names=("$a", "b")
    )
    found = result["categories"]["cable"]
    assert found["varying"] == 0
    assert found["auspro"]["$a"]["mean"]["0.05"]["min"] == pytest.approx(1)
    text = (tmp_path / "out/saturation.md").read_text()
    assert "No threshold varies" in str(lines)
    assert "No threshold varies" in text
    assert "Kendall" not in text


def test_every_field_is_explained():
    texts = field_texts(SaturationStudy)
    for field in dataclasses.fields(SaturationStudy):
        assert texts[field.name].doc


def test_the_command(root):
    arguments = [
        "--config=configs/study_saturation.py:paper",
        f"--workdir={root}/out",
        f"--config.dataset_base_dir={root}/data",
        "--config.object_names=('pushpins',)",
        f"--config.maps=('{root}/u','{root}/v')",
    ]
    done = runs.command(arguments)
    assert done.returncode == 0, done
    assert done.stderr == ""
    assert "1 category x 2 methods, 10 draws" in done.stdout
    result = json.loads((root / "out/saturation.json").read_text())
    assert result["settings"]["num_draws"] == 10

    refused = runs.command([*arguments, "--config.low=0"])
    assert refused.returncode == 2
    assert "config.low is 0" in runs.one_sentence(refused.stderr)
    mistyped = runs.command([*arguments, "--config.num_drawz=5"])
    assert "--config.num_draws" in runs.one_sentence(mistyped.stderr)
