"""The study of the saturation thresholds as a job and as a command."""

import dataclasses
import json
import pathlib
import shutil

import map_folders as folders
import numpy as np
import pytest
import runs

from gcad_jax import experiment
from gcad_jax.checks import UserError
from gcad_jax.evaluation import ground_truth, map_files
from gcad_jax.evaluation.regions import GroundTruth
from gcad_jax.evaluation.scores import KIND_OR_MEAN, LIMITS, score
from gcad_jax.studies import map_sets, saturation
from gcad_jax.studies.saturation import SaturationStudy
from gcad_jax.studies.saturation_report import OVERALL, with_mean

OUTPUTS = ["saturation.json", "saturation.md", "saturation.pdf", "saturation.png"]


def make(root: pathlib.Path, name: str = folders.NAME, methods: str = "uv") -> None:
    """A category, and for each method random maps that find half of the defects."""
    _, perfect = folders.make_loco(root, name)
    for method in methods:
        random = np.random.default_rng([*method.encode(), len(name)])
        for path in perfect.rglob("*.tiff"):
            scores = map_files.read_map(path) * random.random() + random.random((12, 8))
            to = root / method / name / path.relative_to(perfect)
            folders.save_map(to, scores.astype(np.float32))


def study(root: pathlib.Path, **fields) -> SaturationStudy:
    given = {
        "dataset_base_dir": str(root / "data"),
        "maps": (str(root / "u"), str(root / "v")),
        "num_draws": 40,
    }
    return SaturationStudy(**(given | fields))


def run(root: pathlib.Path, **fields):
    lines: list[str] = []
    result = saturation.run(study(root, **fields), str(root / "out"), lines.append)
    assert json.loads((root / "out/saturation.json").read_text()) == json.loads(
        json.dumps(result)
    )
    return result, lines


@pytest.fixture
def root(tmp_path):
    make(tmp_path)
    return tmp_path


def expected(root: pathlib.Path, method: str):
    data = root / "data" / folders.NAME
    maps = map_files.listed(root / method / folders.NAME / "test")
    _, anomalous = ground_truth.anomalous_images(data)
    truth = GroundTruth.build((*ground_truth.good_images(data, maps), *anomalous))
    paths = [maps[image.name] for image in truth.images]
    return score(truth, map_files.source(paths, truth.images)).auspro


def test_two_methods(root):
    result, lines = run(root)
    assert lines[0].startswith("study       1 category x 2 methods, 40 draws")
    assert sorted(p.name for p in (root / "out").iterdir()) == ["pushpins", *OUTPUTS]
    category = result["categories"]["pushpins"]
    assert result["overall"] is None
    assert result["methods"] == ["u", "v"]
    assert category["thresholds"] == {"missing": {"pixels": 4}}
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

    with np.load(root / "out/pushpins/draws.npz") as arrays:
        values, thresholds = arrays["auspro"], arrays["threshold/missing"]
    assert values.shape == (2, 2, len(LIMITS), 41)
    assert thresholds[0] == 4
    assert set(thresholds) <= {2, 3, 4, 5, 6}
    for n, limit in enumerate(LIMITS):
        u, v = with_mean(values)[:, 2, n]
        order = (u > v).astype(int) - (u < v)
        share = (order[1:] != order[0]).mean()
        assert pair["changed"]["mean"][limit] == share
        found = category["ranking"]["mean"][limit]
        assert found["unchanged"] == 1 - share
        if order.all():
            tau = order[1:] * order[0]
            assert found["kendall_tau_mean"] == pytest.approx(tau.mean())
            assert found["kendall_tau_min"] == tau.min()
    text = (root / "out/saturation.md").read_text()
    assert "The saturation of 1 of 4 regions varies, by 1 threshold." in text
    assert "| u | logical |" in text


def test_finished_categories_are_kept(root, monkeypatch):
    make(root, "screw_bag")
    first, _ = run(root, object_names=("pushpins",))
    both, lines = run(root)
    assert [line for line in lines if "kept" in line] == [
        "pushpins: its draws are kept from earlier"
    ]
    assert both["categories"]["pushpins"] == first["categories"]["pushpins"]

    monkeypatch.setattr(saturation, "rank", None)  # nothing is passed over again
    assert run(root)[0] == both
    monkeypatch.undo()
    assert "kept" not in str(run(root, seed=1)[1])

    # A map that changed, and a file that is damaged.
    make(root, methods="v")
    assert "pushpins: its draws are kept" not in str(run(root, seed=1)[1])
    (root / "out/pushpins/draws.npz").write_bytes(b"PK\3\4")
    (root / "out/screw_bag/saturation.json").write_text("[]")
    assert "kept" not in str(run(root, seed=1)[1])


def test_reproducible_by_seed(root):
    first, _ = run(root)
    shutil.rmtree(root / "out")
    assert run(root)[0] == first
    other = run(root, seed=7)[0]["categories"]["pushpins"]["auspro"]["u"]
    assert other != first["categories"]["pushpins"]["auspro"]["u"]


def test_draws_do_not_depend_on_the_other_methods(root):
    both, _ = run(root)
    alone, _ = run(root, maps=(str(root / "v"),))
    one = alone["categories"]["pushpins"]
    assert one["auspro"]["v"] == both["categories"]["pushpins"]["auspro"]["v"]
    assert one["pairs"] == []
    assert one["ranking"]["mean"]["0.05"] is None


def test_overall_is_the_mean_over_the_categories(root):
    make(root, "screw_bag")
    result, _ = run(root)
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
    result, _ = run(root)
    category = result["categories"]["pushpins"]
    for kind in ("structural_anomalies", "mean"):
        assert set(category["auspro"]["u"][kind]["0.05"].values()) == {None}
        assert category["pairs"][0]["changed"][kind]["0.05"] is None
        assert category["ranking"][kind]["0.05"] is None
    assert category["auspro"]["u"]["logical_anomalies"]["0.05"]["mean"] is not None


def test_nothing_varies_in_mvtec_ad(tmp_path):
    folders.make_ad(tmp_path)
    result, _ = run(tmp_path, maps=(str(tmp_path / "maps"),), names=("$perfect",))
    found = result["categories"]["cable"]
    assert found["varying"] == 0
    assert found["auspro"]["$perfect"]["mean"]["0.05"]["min"] == pytest.approx(1)


def as_runs(root: pathlib.Path, seeds=(0, 10, 2)) -> pathlib.Path:
    """A workdir as the main job writes it."""
    for seed in seeds:
        to = root / "run/pushpins" / experiment.MAPS / f"seed_{seed}/pushpins"
        shutil.copytree(root / "u/pushpins", to)
    return root / "run"


def test_seeds_of_runs_are_methods(root):
    as_runs(root)
    result, _ = run(root, workdirs=(str(root / "run"),), maps=(str(root / "v"),))
    names = ["v", "run seed 0", "run seed 2", "run seed 10"]
    assert result["methods"] == names
    category = result["categories"]["pushpins"]
    values = [category["auspro"][name] for name in names[1:]]
    assert values[0] == values[1] == values[2]
    equal = [p["changed"]["mean"] for p in category["pairs"] if "v" not in p["methods"]]
    assert all(set(shares.values()) == {0} for shares in equal)


def test_a_run_of_one_seed_has_its_own_name(root):
    as_runs(root, [3])
    given = {"workdirs": (str(root / "run"),), "names": ("A", "B", "ours")}
    assert run(root, **given)[0]["methods"] == ["A", "B", "ours"]
    assert map_sets.MAPS == experiment.MAPS


BAD = {
    "no data": ({"dataset_base_dir": ""}, "dataset_base_dir is empty"),
    "no such data": ({"dataset_base_dir": "/no"}, "/no, which holds no folder"),
    "other category": ({"object_names": ("pushpin",)}, "Did you mean 'pushpins'"),
    "category twice": ({"object_names": ("pushpins",) * 2}, "each once"),
    "a path": ({"object_names": ("a/b",)}, "must name folders"),
    "numbers": ({"maps": (1, 2)}, r"config.maps is \(1, 2\)"),
    "no maps": ({"maps": ()}, "both empty"),
    "one map": ({"names": ("one",)}, "1 names for 2 methods"),
    "same names": ({"names": ("A", "A")}, "two methods are called 'A'"),
    "maps elsewhere": ({"maps": ("/no",)}, "/no/pushpins/test is not a folder"),
    "no run": ({"workdirs": ("/no",)}, "/no, which is not a folder"),
    "draws": ({"num_draws": 0}, "num_draws is 0"),
    "seed": ({"seed": -1}, "seed is -1"),
    "low": ({"low": 0.0}, "low is 0.0; it must be above 0"),
    "high": ({"high": 0.25}, "high is 0.25 and config.low 0.5"),
    "infinite": ({"high": float("inf")}, "a finite number"),
    "nan": ({"low": float("nan")}, "low is nan"),
    "mode": ({"mode": "exac"}, "config.mode is 'exac'.*'exact'"),
}


@pytest.mark.parametrize(("fields", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_config(root, fields, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        run(root, **fields)
    assert str(error.value)[-1] in ".?"
    assert not (root / "out").exists()


def test_a_run_without_maps_says_what_to_do(root):
    (root / "run/pushpins").mkdir(parents=True)
    with pytest.raises(UserError, match=r"--config\.write_maps=True"):
        run(root, workdirs=(str(root / "run"),))


def test_categories_of_other_seeds(root):
    make(root, "screw_bag")
    as_runs(root, [0, 1])
    shutil.copytree(
        root / "run/pushpins/anomaly_maps/seed_0/pushpins",
        root / "run/screw_bag/anomaly_maps/seed_0/screw_bag",
    )
    with pytest.raises(UserError, match=r"screw_bag has maps by u, v, run, but"):
        run(root, workdirs=(str(root / "run"),))


def test_missing_map_leaves_nothing(root):
    (root / "v/pushpins/test/logical_anomalies/000.tiff").unlink()
    with pytest.raises(UserError, match=r"logical_anomalies/000\.tiff does not exist"):
        run(root)
    assert not (root / "out").exists()


@pytest.mark.parametrize("blocked", ["out", "out/saturation.png/x"])
def test_folder_that_cannot_be_written(root, blocked):
    (root / blocked).parent.mkdir(parents=True, exist_ok=True)
    (root / blocked).write_text("")
    with pytest.raises(UserError, match=r"--workdir=.*out cannot be written"):
        run(root)


def test_the_four_files_are_written_together(root, monkeypatch):
    run(root)
    before = {name: (root / "out" / name).read_bytes() for name in OUTPUTS}

    def full(*_args):
        raise OSError(28, "No space left on device", "saturation.png")

    monkeypatch.setattr("gcad_jax.studies.saturation_figure.draw", full)
    with pytest.raises(UserError, match="No space left"):
        run(root, seed=5)
    assert {name: (root / "out" / name).read_bytes() for name in OUTPUTS} == before
    assert runs.leftovers(root) == []


def test_every_field_is_explained():
    explained = SaturationStudy.__doc__ or ""
    for field in dataclasses.fields(SaturationStudy):
        assert field.name in explained


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
