"""A sweep whose tasks are workdirs of their own, joined to one."""

import json

import numpy as np
import pytest
from helpers import doubles, runs, trees

from gcad_jax.core.errors import UserError
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.evaluation.result_files import read_result
from gcad_jax.runs import merge, train_and_evaluate
from gcad_jax.studies.grid import runner
from gcad_jax.studies.grid.benchmark import Benchmark
from gcad_jax.studies.grid.study import Cell, make_group, make_study

CATEGORIES, SEEDS = ("juice_bottle", "screw_bag"), (0, 3)


def config(root, categories=CATEGORIES, seeds=SEEDS, **fields):
    data = MvtecLocoAd(
        root=str(root), categories=categories, cache_dir=str(root / "cache")
    )
    method = doubles.Scored(**{"epochs": 3, "batch_size": 2, **fields})
    return runs.tiny(data=data, method=method, seeds=seeds, figure_images=1)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A data set, and a folder with a task for each category and seed."""
    root = tmp_path_factory.mktemp("sweep")
    for category in CATEGORIES:
        trees.make_loco(root / "data", category)
        for seed in SEEDS:
            path = root / "parts" / category / f"seed_{seed}"
            train_and_evaluate.run(
                config(root / "data", (category,), (seed,)), str(path)
            )
    return root


@pytest.fixture
def damaged(sweep, tmp_path):
    """A copy of the parts, of results alone, to be damaged."""
    for file in (sweep / "parts").rglob("*.json"):
        copy = tmp_path / "parts" / file.relative_to(sweep / "parts")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    return tmp_path


def join(root, target):
    return merge.merge(str(root / "parts" / "*" / "seed_*"), str(target))


def test_what_is_merged_is_what_one_run_leaves(sweep, tmp_path, capsys):
    told = join(sweep, tmp_path / "merged")
    assert "juice_bottle, screw_bag; seeds 0, 3" in told
    whole = config(sweep / "data")
    train_and_evaluate.run(whole, str(tmp_path / "one"))
    capsys.readouterr()
    train_and_evaluate.run(whole, str(tmp_path / "merged"))
    assert capsys.readouterr().out.count("its results are kept") == 2
    for name in CATEGORIES:
        one, merged = (read_result(tmp_path / f / name) for f in ("one", "merged"))
        assert one.seeds == merged.seeds == SEEDS
        # Two seeds in one program, or each by itself: equal within rounding.
        np.testing.assert_allclose(one.validation, merged.validation, rtol=1e-4)
        for branch, scores in one.branches.items():
            for a, b in zip(scores, merged.branches[branch], strict=True):
                np.testing.assert_allclose(a.image_scores, b.image_scores, rtol=1e-3)
        for figure in ("maps.png", "worst.pdf", "best.png", "curves.pdf"):
            assert (tmp_path / "merged" / name / figure).exists()
    assert "screw_bag" in (tmp_path / "merged" / "report.html").read_text()
    report = (tmp_path / "merged" / "report.md").read_text()
    assert "juice_bottle" in report
    assert "screw_bag" in report
    join(sweep, tmp_path / "merged")  # again: the report is to be written anew
    assert not list((tmp_path / "merged").glob("report.*"))


def test_what_is_merged_may_be_a_run_of_a_study(sweep, tmp_path, capsys):
    join(sweep, tmp_path / "loco" / "double")
    one = config(sweep / "data")
    cells = {"double": Cell(method=one.method)}
    fields = {"seeds": SEEDS, "num_devices": 1, "log_every": 1, "estimate": False}
    study = make_study(Benchmark, {"loco": make_group(one.data, cells)}, **fields)
    found = runner.run(study, str(tmp_path))
    assert found["loco"]["double"].seeds == SEEDS
    assert capsys.readouterr().out.count("its results are kept") == 2
    assert "| Double |" in (tmp_path / "benchmark.md").read_text()


def test_other_settings_are_refused_by_the_run_of_what_is_merged(sweep, tmp_path):
    join(sweep, tmp_path / "merged")
    other = config(sweep / "data", nan_at=99)
    with pytest.raises(UserError, match=r"another config \(method.nan_at"):
        train_and_evaluate.run(other, str(tmp_path / "merged"))


def test_seeds_that_one_part_has_together(sweep, tmp_path):
    """A part may have several: here one made by merging."""
    for category in CATEGORIES:
        merge.merge(
            str(sweep / "parts" / category / "seed_*"),
            str(tmp_path / "parts" / "all" / f"seed_{category}"),
        )
    join(tmp_path, tmp_path / "merged")
    join(sweep, tmp_path / "at_once")
    for name in CATEGORIES:
        texts = [
            (tmp_path / folder / name / "details.json").read_text()
            for folder in ("merged", "at_once")
        ]
        assert texts[0] == texts[1]


def change(file, **fields):
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_a_task_that_is_not_finished(damaged):
    (damaged / "parts/screw_bag/seed_3/screw_bag/metrics.json").unlink()
    with pytest.raises(UserError, match=r"seed_3 is not finished \(screw_bag has no"):
        join(damaged, damaged / "merged")
    assert not (damaged / "merged").exists()


def test_a_task_that_is_missing(damaged):
    (damaged / "parts/screw_bag/seed_3/config.json").unlink()
    with pytest.raises(UserError, match="screw_bag lacks the seeds 3"):
        join(damaged, damaged / "merged")


def test_a_task_of_other_settings(damaged):
    change(damaged / "parts/screw_bag/seed_3/config.json", image_size=64)
    with pytest.raises(UserError, match=r"other settings .*\(image_size: 4 -> 64\)"):
        join(damaged, damaged / "merged")


def test_a_task_on_other_images(damaged):
    change(damaged / "parts/screw_bag/seed_3/screw_bag/data.json", train={})
    with pytest.raises(UserError, match=r"seed_3.screw_bag has other images"):
        join(damaged, damaged / "merged")


@pytest.mark.parametrize("text", ["{", "[]", '{"data": 3}'])
def test_a_damaged_file_of_a_task_is_named(damaged, text):
    task = damaged / "parts" / "juice_bottle" / "seed_0"
    for file in (task / "juice_bottle" / "data.json", task / "config.json"):
        if file.name == "data.json" and text != "{":
            continue  # any other object is of other images
        file.write_text(text)
        with pytest.raises(UserError) as raised:
            join(damaged, damaged / "merged")
        assert f"{file} does not hold" in str(raised.value)


def test_a_seed_that_two_tasks_have(damaged):
    file = damaged / "parts/screw_bag/seed_3/screw_bag/details.json"
    change(file, seeds=[0])
    with pytest.raises(UserError, match="another part has the seed 0 too"):
        join(damaged, damaged / "merged")


def test_patterns(tmp_path, monkeypatch):
    for name in ("a/seed_0", "a/seed_1", "b/seed_0/x", "b/other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "b" / "seed_9").touch()

    def found(pattern):
        return [str(path.relative_to(tmp_path)) for path in merge.find_folders(pattern)]

    assert found(f"{tmp_path}/*/seed_*") == ["a/seed_0", "a/seed_1", "b/seed_0"]
    assert found(f"{tmp_path}/a/seed_?") == ["a/seed_0", "a/seed_1"]
    assert found(f"{tmp_path}/b/") == ["b"]
    assert found(f"{tmp_path}/b/seed_0") == ["b/seed_0"]
    assert found(f"{tmp_path}/none/*/x") == []
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in merge.find_folders("*/seed_1")] == ["a/seed_1"]
    assert [str(path) for path in merge.find_folders("a")] == ["a"]


def test_nothing_is_found(tmp_path):
    with pytest.raises(UserError, match="finds no workdir of a run"):
        join(tmp_path, tmp_path / "merged")


def test_a_set_without_categories(damaged):
    """Such as the circles: the folders with results are its categories."""
    for file in damaged.glob("parts/*/*/config.json"):
        data = json.loads(file.read_text())["data"]
        change(file, data={k: v for k, v in data.items() if k != "categories"})
    told = join(damaged, damaged / "merged")
    assert "juice_bottle, screw_bag; seeds 0, 3" in told
    (damaged / "parts/screw_bag/seed_3/screw_bag/metrics.json").unlink()
    with pytest.raises(UserError, match=r"seed_3 is not finished \(it has no results"):
        join(damaged, damaged / "merged")
