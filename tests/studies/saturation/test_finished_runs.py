"""The study of runs of the main job, which is given nothing but their workdirs."""

import contextlib
import fcntl
import json
import shutil

import numpy as np
import pytest
from helpers import map_folders as folders
from helpers import runs, trees
from helpers.study_runs import (
    make_category,
    make_run,
    of_workdirs,
    printed_lines,
    run_study,
    study_maps,
)

from gcad_jax.core.errors import UserError
from gcad_jax.data.folder import Folder
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec_ad import MvtecAd
from gcad_jax.evaluation.map_files import MAPS
from gcad_jax.evaluation.results import ANOMALOUS, LIMITS
from gcad_jax.methods.variation_model import VariationModel
from gcad_jax.runs import train_and_evaluate
from gcad_jax.studies.saturation import run as saturation
from gcad_jax.studies.saturation.finished_runs import SourceRun

CATEGORY = "juice_bottle"


@pytest.fixture
def loco(tmp_path):
    """A data set, and two runs of it: "a" with two seeds, "b" with one."""
    trees.make_loco(tmp_path / "loco", CATEGORY)
    data = data_of(tmp_path)
    make_run(tmp_path / "a", data, seeds=(10, 2))
    make_run(tmp_path / "b", data)
    return tmp_path


def data_of(root):
    return MvtecLocoAd(str(root / "loco"), (CATEGORY,), str(root / "cache"))


def plan_of(given, out):
    with printed_lines() as lines:
        saturation.plan(given, str(out))
    return "\n".join(lines)


def test_a_run_of_the_main_job(tmp_path):
    config = runs.tiny(method=VariationModel(image_size=32), write_maps=True)
    (evaluated,) = train_and_evaluate.run(config, str(tmp_path / "run"))
    result, _ = run_study(of_workdirs(tmp_path / "run"), tmp_path / "out")
    assert result["methods"] == ["run"]
    circles = result["categories"]["circles"]
    # Half of the area of both discs must be found: below the area, so it varies.
    assert circles["thresholds"] == {
        "additional_circle": {"share_of_area": 0.5, "regions": 2}
    }
    found, (scores,) = circles["auspro"]["run"], evaluated.combined
    for kind in ANOMALOUS:
        for limit in LIMITS:
            assert found[kind][limit]["original"] == pytest.approx(
                scores.auspro[kind][limit], abs=1e-12
            )
    assert found["structural_anomalies"]["0.05"]["std"] == 0
    assert found["logical_anomalies"]["1.0"]["std"] > 0


def test_seeds_are_methods_and_data_are_found(loco):
    given = of_workdirs(loco / "a", loco / "b")
    assert " maps of 3 methods" in plan_of(given, loco / "out")
    assert not (loco / "out").exists()
    result, _ = run_study(given, loco / "out")
    assert f"{CATEGORY}: its draws are kept" in plan_of(given, loco / "out")
    assert result["methods"] == ["a seed 2", "a seed 10", "b"]
    thresholds = result["categories"][CATEGORY]["thresholds"]
    assert thresholds["missing_part"]["pixels"] == 10
    assert thresholds["extra_part"]["share_of_area"] == 0.7
    # The same from the files of the data set, which are read otherwise.
    given = of_workdirs(loco / "a", loco / "b", dataset_base_dir=str(loco / "loco"))
    assert (
        run_study(given, loco / "out")[0]["categories"][CATEGORY]["auspro"]
        == result["categories"][CATEGORY]["auspro"]
    )


def test_beside_maps_of_another_framework(loco):
    maps = loco / "a" / CATEGORY / MAPS / "seed_2"
    given = of_workdirs(loco / "a", maps=(str(maps),), names=("other", "ours"))
    result, _ = run_study(given, loco / "out")
    assert result["methods"] == ["other", "ours seed 2", "ours seed 10"]
    category = result["categories"][CATEGORY]
    assert category["auspro"]["other"] == category["auspro"]["ours seed 2"]
    assert set(category["pairs"][0]["changed"]["mean"].values()) == {0}


def test_runs_of_several_image_sizes(loco):
    make_run(loco / "c", data_of(loco), image_size=64)
    result, _ = run_study(of_workdirs(loco / "b", loco / "c"), loco / "out")
    assert result["methods"] == ["b", "c"]
    # Another mask since then: the run of the other size saw other regions.
    path = loco / "loco" / CATEGORY / "ground_truth/logical_anomalies/000/000.png"
    trees.save(path, trees.rectangle(1, 1, 4, 5, 255))
    make_run(loco / "d", data_of(loco), image_size=32)
    with pytest.raises(UserError, match=r"b and .*d have other test images or masks"):
        run_study(of_workdirs(loco / "b", loco / "d"), loco / "out")


def test_runs_whose_images_are_no_squares(loco):
    """A size of the config is a list in its file."""
    make_run(loco / "c", data_of(loco), image_size=(32, 64))
    make_run(loco / "d", data_of(loco), image_size=(32, 64))
    result, _ = run_study(of_workdirs(*(loco / n for n in "bcd")), loco / "out")
    assert result["methods"] == ["b", "c", "d"]
    with contextlib.ExitStack() as locks:
        forms = [SourceRun.open(str(loco / n), locks).test_form for n in "bcd"]
    assert forms == [("GCAD", 32, False), *[("SPADE", (32, 64), False)] * 2]


def test_sizes_of_other_data(loco):
    shutil.copytree(loco / "loco", loco / "other")
    path = loco / "other" / CATEGORY / "ground_truth/logical_anomalies/000/000.png"
    trees.save(path, trees.rectangle(1, 1, 4, 5, 255))
    other = MvtecLocoAd(str(loco / "other"), (CATEGORY,), str(loco / "cache"))
    make_run(loco / "c", other, image_size=64)
    with pytest.raises(UserError, match=r"b and .*c have other test images or masks"):
        run_study(of_workdirs(loco / "b", loco / "c"), loco / "out")


def test_own_images(tmp_path):
    root = tmp_path / "mine"
    for number in range(4):
        trees.save(root / f"train/{number}.png", trees.noise(number))
    trees.save(root / "test/good/0.png", trees.noise(10))
    trees.save(root / "test/logical_gap/0.png", trees.noise(11))
    trees.save(root / "test/scratch/0.png", trees.noise(12))
    mask = trees.rectangle(3, 3, 5, 6, 255)
    trees.save(root / "ground_truth/logical_gap/0.png", mask)
    make_run(tmp_path / "run", Folder(str(root)))
    result, lines = run_study(of_workdirs(tmp_path / "run"), tmp_path / "out")
    category = result["categories"]["mine"]
    assert (category["varying"], category["regions"]) == (0, 1)
    assert category["auspro"]["run"]["structural_anomalies"]["0.05"]["mean"] is None
    assert category["auspro"]["run"]["logical_anomalies"]["0.05"]["std"] == 0
    assert "mine: No threshold varies" in str(lines)


def test_own_images_without_masks(tmp_path):
    for number in range(4):
        trees.save(tmp_path / f"mine/train/{number}.png", trees.noise(number))
    trees.save(tmp_path / "mine/test/dent/0.png", trees.noise(11))
    make_run(tmp_path / "run", Folder(str(tmp_path / "mine")))
    with pytest.raises(UserError, match="mine has no test image with a mask"):
        run_study(of_workdirs(tmp_path / "run"), tmp_path / "out")


def test_mvtec_ad(tmp_path):
    trees.make_ad(tmp_path / "ad", "hazelnut")
    data = MvtecAd(str(tmp_path / "ad"), ("hazelnut",), str(tmp_path / "cache"))
    make_run(tmp_path / "run", data)
    result, _ = run_study(of_workdirs(tmp_path / "run"), tmp_path / "out")
    assert result["categories"]["hazelnut"]["varying"] == 0


def test_kept_until_a_run_changes(loco):
    run_study(of_workdirs(loco / "b"), loco / "out")
    shutil.rmtree(loco / "loco")  # not needed again
    assert "kept" in str(run_study(of_workdirs(loco / "b"), loco / "out")[1])
    file = loco / "b" / CATEGORY / "data.json"
    digests = json.loads(file.read_text())
    digests["test"]["sha256"] = "others"
    file.write_text(json.dumps(digests))
    with pytest.raises(UserError, match=r"the data set is in .*start the study in"):
        run_study(of_workdirs(loco / "b"), loco / "out")


# What is done to run "b", and what the study of "a" and "b" says then.
def without_maps(run):
    shutil.rmtree(run / CATEGORY / MAPS)


def without_one_map(run):
    next(run.rglob("good/*.tiff")).unlink()


def of_another_size(run):
    folders.save_map(next(run.rglob("good/*.tiff")), np.zeros((3, 3), np.float32))


def unfinished(run):
    (run / CATEGORY / "metrics.json").unlink()


def of_another_category(run):
    (run / CATEGORY).rename(run / "pushpins")


def damaged_config(run):
    (run / "config.json").write_text("{")


def without_config(run):
    (run / "config.json").unlink()


def of_another_method(run):
    change(run, "data", "class", "Photographs")


def of_other_fields(run):
    change(run, "data", "color", "red")


def damaged_digests(run):
    (run / CATEGORY / "data.json").write_text("{}")


def change(run, part, field, value):
    config = json.loads((run / "config.json").read_text())
    config[part][field] = value
    (run / "config.json").write_text(json.dumps(config))


BAD = {
    without_maps: r"b/juice_bottle/anomaly_maps holds no .* write_maps=True",
    without_one_map: r"\.tiff does not exist, like the maps of 1 of the",
    of_another_size: "is a map of 3 x 3 pixels, but",
    unfinished: r"b/juice_bottle is not finished, for it holds no metrics\.json",
    of_another_category: "b has no category 'juice_bottle' but pushpins; name categ",
    damaged_config: r"b/config\.json does not hold the config of a run",
    without_config: r"b holds no config\.json, so no run",
    of_another_method: "a was trained on MvtecLocoAd and .*b on Photographs",
    damaged_digests: r"b/juice_bottle/data\.json is damaged",
}


@pytest.mark.parametrize(
    ("damage", "sentence"), BAD.items(), ids=[f.__name__ for f in BAD]
)
def test_bad_study_maps(loco, damage, sentence):
    damage(loco / "b")
    with pytest.raises(UserError, match=sentence) as error:
        run_study(of_workdirs(loco / "a", loco / "b"), loco / "out")
    assert str(error.value)[-1] in ".?"
    assert not (loco / "out").exists()


@pytest.mark.parametrize("damage", [of_another_method, of_other_fields])
def test_a_data_set_that_is_not_known(loco, damage):
    damage(loco / "b")
    with pytest.raises(UserError, match=r"does not know .* dataset_base_dir="):
        run_study(of_workdirs(loco / "b"), loco / "out")
    given = of_workdirs(loco / "b", dataset_base_dir=str(loco / "loco"))
    assert run_study(given, loco / "out")[0]["methods"] == ["b"]


def test_a_run_given_twice(loco):
    with pytest.raises(UserError, match="two methods are called 'b'"):
        run_study(of_workdirs(loco / "b", loco / "b"), loco / "out")


def test_a_run_that_is_still_at_work(loco):
    with (loco / "b/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"a run is still at work in .*b; wait"):
            run_study(of_workdirs(loco / "a", loco / "b"), loco / "out")
    assert run_study(of_workdirs(loco / "b"), loco / "out")


def test_a_run_cannot_begin_while_it_is_studied(loco, monkeypatch):
    def rank(*_args):
        with pytest.raises(UserError, match="is in use by another process"):
            make_run(loco / "b", data_of(loco))
        raise UserError("looked.")

    monkeypatch.setattr("gcad_jax.studies.saturation.run.rank", rank)
    with pytest.raises(UserError, match="looked"):
        run_study(of_workdirs(loco / "b"), loco / "out")


def test_an_empty_study_maps(tmp_path):
    (tmp_path / "run").mkdir()
    config = {"data": {"class": "Circles"}, "method": {"class": "M", "image_size": 1}}
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="run, which holds no category; run its"):
        run_study(of_workdirs(tmp_path / "run"), tmp_path / "out")


def test_categories_of_other_seeds(tmp_path):
    for name in ("juice_bottle", "pushpins"):
        trees.make_loco(tmp_path / "loco", name)
    names = ("juice_bottle", "pushpins")
    data = MvtecLocoAd(str(tmp_path / "loco"), names, str(tmp_path / "cache"))
    run_path = make_run(tmp_path / "run", data, seeds=(0, 1))
    shutil.rmtree(run_path / "pushpins" / MAPS / "seed_1")
    with pytest.raises(UserError, match="pushpins has maps by run, but juice_bottle"):
        run_study(of_workdirs(run_path), tmp_path / "out")


def test_names_and_a_data_set_of_their_own(tmp_path):
    make_category(tmp_path)
    given = {"maps": (str(tmp_path / "v"),), "names": ("A", "B")}
    with pytest.raises(UserError, match="2 names for 1 methods"):
        study_maps(tmp_path, **given)
