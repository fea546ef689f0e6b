"""Studies that are made of runs: planned, run, skipped, and what they write."""

import contextlib
import dataclasses
import json
import re

import numpy as np
import pytest
from helpers import commands, doubles, made_results, runs, small_classifier
from PIL import Image

from gcad_jax.config import files, serialization, validation
from gcad_jax.core.errors import UserError
from gcad_jax.data.folder import Folder
from gcad_jax.methods.spade import SPADE
from gcad_jax.methods.variation_model import VariationModel
from gcad_jax.runs import train_and_evaluate
from gcad_jax.runs.lock import lock_workdir
from gcad_jax.runs.plan import print_plan
from gcad_jax.runs.train_and_evaluate import load_category
from gcad_jax.studies.grid import plan, runner
from gcad_jax.studies.grid.ablations import Ablations, ablation_study
from gcad_jax.studies.grid.benchmark import Benchmark, toy_study
from gcad_jax.studies.grid.results import measure_panels
from gcad_jax.studies.grid.seeds import Seeds
from gcad_jax.studies.grid.study import Cell, make_group, make_study
from gcad_jax.training.cost.estimate import Cost

CONFIGS = runs.ROOT / "configs"


# How ml_collections loads a config file.
LOADS = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def study(kind=Benchmark, **fields):
    """A trained method, whose run is "gcad", and the Variation Model on small circles.

    The method is the double: it compiles in a moment.
    """
    cells = {
        "variation_model": Cell(method=VariationModel(image_size=32)),
        "gcad": Cell(method=doubles.Scored(epochs=3), cache_features=True),
    }
    small = {"num_devices": 1, "log_every": 1, "estimate": False}
    small["figure_images"] = int(fields.get("write_maps", False))
    groups = {"circles": make_group(runs.circles(), cells)}
    return make_study(kind, groups, **{**small, **fields})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    found = runner.run(study(write_maps=True, seeds=(0, 1)), str(folder))
    return folder, found


def test_methods_of_other_sizes_stand_in_one_figure(tmp_path, monkeypatch):
    """That of most pixels shows the images."""
    small_classifier.stand_in(monkeypatch, "efficientnet_lite0")
    small = {"backbone": "efficientnet_lite0", "weights": "imagenet", "K": 2}
    given = study(write_maps=True)
    given.circles.gcad.method = SPADE(image_size=(32, 48), **small)
    found = runner.run(given, str(tmp_path))
    titles = [run.title for run in found["circles"].values()]
    assert titles == ["Variation Model", "SPADE"]
    assert (tmp_path / "circles_circles_maps.png").stat().st_size > 0
    given.image_size = (32, 48)
    says = r"image_size is \(32, 48\), but Variation Model takes squares alone"
    with pytest.raises(UserError, match=says):
        runner.plan(given, str(tmp_path / "other"))


def test_every_run_is_a_workdir_of_its_own(finished):
    folder, found = finished
    assert list(found["circles"]) == ["variation_model", "gcad"]
    told = json.loads((folder / "benchmark.json").read_text())["circles"]
    for name, run in found["circles"].items():
        own = folder / "circles" / name
        metrics = json.loads((own / "circles" / "metrics.json").read_text())
        spro = told[name]["overall"]["auc_spro"]["mean"]["0.05"]
        assert spro["mean"] == pytest.approx(
            metrics["localization"]["auc_spro"]["mean"]["0.05"]
        )
        assert len(spro["seeds"]) == len(run.seeds)
        assert (own / "report.md").exists()
    assert found["circles"]["gcad"].seeds == (0, 1)
    assert found["circles"]["variation_model"].seeds == (0,)
    report = (folder / "benchmark.md").read_text()
    assert "| Double |" in report
    assert "![Maps of circles, one a run](circles_circles_maps.png)" in report
    assert "![sPRO curves of circles, one a run](circles_curves.png)" in report
    for file in ("circles_circles_maps", "circles_curves", "benchmark"):
        assert (folder / f"{file}.pdf").read_bytes()[:4] == b"%PDF"
    html = (folder / "benchmark.html").read_text()
    assert html.count("base64,") == 3
    assert "the picture is not there" not in html
    for link in re.findall(r'href="([^#"]+)"', html):
        assert (folder / link).exists(), link
    assert "circles/gcad/report.html" in html
    assert (folder / "circles_circles_maps.png").stat().st_size > 10_000


def test_two_runs_of_one_method_stand_beside_each_other(tmp_path):
    """Curves and panels are told apart by what a run is called."""
    sizes = {"small": 32, "large": 64}
    cells = {
        name: Cell(method=VariationModel(image_size=size))
        for name, size in sizes.items()
    }
    fields = {"num_devices": 1, "estimate": False, "figure_images": 0}
    groups = {"circles": make_group(runs.circles(), cells)}
    given = make_study(Benchmark, groups, **fields)
    found = runner.run(given, str(tmp_path))["circles"]
    names = ["Variation Model", "Variation Model, large"]
    assert [run.title for run in found.values()] == names
    for lines in Benchmark().curves(found).values():
        assert list(lines) == names
    for panel in measure_panels("circles", found):
        assert list(panel.values) == names
    report = (tmp_path / "benchmark.md").read_text()
    assert "| Variation Model |" in report
    assert "| Variation Model, large |" in report


def test_what_is_finished_is_skipped(finished, capsys):
    folder, _ = finished
    before = runs.checkpoint_steps(folder / "circles" / "gcad" / "circles")
    numbers = (folder / "benchmark.json").read_text()
    runner.run(study(write_maps=True, seeds=(0, 1), estimate=True), str(folder))
    said = capsys.readouterr().out
    assert "2 runs x 1 category, 2 finished" in said
    assert said.count("its results are kept") == 2
    assert "about 0.0 s in all" in said
    assert said.count(": 1 of 1 category finished") == 2
    assert (folder / "benchmark.json").read_text() == numbers
    assert runs.checkpoint_steps(folder / "circles" / "gcad" / "circles") == before


def test_a_report_has_what_earlier_commands_finished(finished):
    folder, _ = finished
    numbers = (folder / "benchmark.json").read_text()
    minutes = (folder / "benchmark.md").read_text()
    assert "\n- gcad: " in minutes
    (folder / "benchmark.html").unlink()  # as of a study that was before there were any
    some = study(write_maps=True, seeds=(0, 1), runs=("variation_model",))
    assert list(runner.run(some, str(folder))["circles"]) == [
        *("variation_model", "gcad")
    ]
    assert (folder / "benchmark.json").read_text() == numbers
    assert (folder / "benchmark.md").read_text() == minutes, "nothing is new"
    assert "Double" in (folder / "benchmark.html").read_text()


def test_commands_share_the_runs(tmp_path, capsys):
    with lock_workdir(tmp_path / "circles" / "gcad"):  # as another command would
        found = runner.run(study(), str(tmp_path))
    assert list(found["circles"]) == ["variation_model"]
    assert capsys.readouterr().out.count("another command is at circles/gcad") == 2
    report = tmp_path / "benchmark.md"
    told = "Not in this report: circles/gcad (another command is at it)."
    assert told in report.read_text()
    # That command has ended without a result.
    runner.run(study(runs=("variation_model",)), str(tmp_path))
    assert "Not in this report: circles/gcad (not run)." in report.read_text()


def test_what_another_command_leaves_is_taken_up(tmp_path, monkeypatch):
    """It ends, without a result, when this one has come to the second run."""
    other = contextlib.ExitStack()
    other.enter_context(lock_workdir(tmp_path / "circles" / "variation_model"))
    run = train_and_evaluate.run

    def hooked(config, path, programs):
        if path.endswith("gcad"):
            other.close()
        return run(config, path, programs)

    monkeypatch.setattr(runner.train_and_evaluate, "run", hooked)
    found = runner.run(study(), str(tmp_path))
    assert list(found["circles"]) == ["variation_model", "gcad"]


def test_what_another_command_finished_meanwhile_is_in_the_report(finished):
    folder, _ = finished
    numbers = (folder / "benchmark.json").read_text()
    (folder / "benchmark.md").write_bytes(b"\xff")  # damaged, so it is written anew
    with lock_workdir(folder / "circles" / "gcad"):
        both = runner.run(study(write_maps=True, seeds=(0, 1)), str(folder))
    assert list(both["circles"]) == ["variation_model", "gcad"]
    assert (folder / "benchmark.json").read_text() == numbers
    report = (folder / "benchmark.md").read_text()
    assert "Not in this report" not in report
    assert report.count("\n- gcad: ") == 1


def test_another_config_does_not_mix_with_what_is_there(finished):
    folder, _ = finished
    with pytest.raises(UserError, match=r"another config .seeds: \[0, 1\] -> \[5\]"):
        runner.run(study(seeds=(5,), runs=("gcad",), write_maps=True), str(folder))


def test_a_plan_only_says(tmp_path, capsys):
    folder = tmp_path / "study"
    given = study(estimate=True, seeds=(0, 1))
    print_plan(runner.plan(given, str(folder)))
    said = capsys.readouterr().out
    assert "circles: 2 runs x 1 category, 0 finished" in said
    assert "gcad: Double, seeds 0, 1" in said
    assert "circles/variation_model: nothing to train" in said
    assert re.search(
        r"circles/gcad: [\d.]+ s, [\d,]+ trained parameters, \d+ MiB", said
    )
    assert re.search(
        r"variation_model: nothing to train; preparing and scoring take [\d.]+ s", said
    )
    assert re.search(r"about [\d.]+ s in all; scoring comes on top for what", said)
    assert f"writes      in {folder}: benchmark.json, benchmark.md" in said
    assert not (folder / "circles").exists()
    assert not (folder / "benchmark.md").exists()


def test_a_plan_says_which_runs_it_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan, "RUNS_SECONDS", -1)
    found = plan.estimate_runs(plan.plan_runs(study(), tmp_path))
    assert "circles/gcad: not compiled, as the plan would" in capsys.readouterr().out
    assert found.seconds == 0
    assert "2 runs not among them: not compiled" in found.estimate


def test_the_estimate_leaves_out_what_a_checkpoint_holds(tmp_path):
    one = plan.plan_runs(study(runs=("gcad",)), tmp_path)[0]
    assert one.progress() == ""
    whole, cost = plan.estimate_run(one, ["circles"])
    updates = 6 * cost.update_seconds["fast"] + 3 * cost.update_seconds["both"]
    assert updates < whole < updates + 5  # of preparing
    (one.folder / "circles" / "checkpoints" / "9").mkdir(parents=True)
    assert plan.estimate_run(one, ["circles"]) == (0, None)
    assert one.progress() == ": circles at update 9"


def test_a_method_that_trains_nothing_costs_its_preparing_and_scoring(
    tmp_path, monkeypatch
):
    cost = Cost({}, 0, 0, 0, 0, 0, 0, ())
    monkeypatch.setattr(plan, "measure_category", lambda *_: (cost, 7.0, 0.5))
    one = plan.plan_runs(study(runs=("variation_model",)), tmp_path)[0]
    category = load_category(one.config, "circles")
    images = 2 * len(category.validation) + len(category.test)
    assert plan.estimate_run(one, ["circles"]) == (7 + images / 2, cost)
    assert plan.estimate_runs([one]).seconds == 7 + images / 2


def test_a_run_that_fails_does_not_stop_the_others(tmp_path):
    given = study()
    given.circles.gcad.method = doubles.Scored(epochs=3, nan_at=2)
    says = r"1 of 2 runs failed.*circles/gcad: .*is nan at.*circles.gcad.method.learn"
    with pytest.raises(UserError, match=says):
        runner.run(given, str(tmp_path))
    told = json.loads((tmp_path / "benchmark.json").read_text())
    assert list(told["circles"]) == ["variation_model"]
    report = (tmp_path / "benchmark.md").read_text()
    assert "Not in this report: circles/gcad (L_" in report


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"runs": ("gcd",)}, "'gcd'; there are variation_model, gcad.*mean 'gcad'"),
        ({"runs": ("gcad", "gcad")}, "name each run once"),
        ({"seeds": ()}, "one seed or more"),
    ],
)
def test_a_mistake_is_said_before_anything_runs(tmp_path, fields, says):
    with pytest.raises(UserError, match=says):
        runner.run(study(**fields), str(tmp_path / "study"))
    assert not (tmp_path / "study").exists()


def test_sizes_reach_the_methods_that_have_them():
    given = study(epochs=7)
    found = given.experiments("circles")
    assert validation.resolve(found["gcad"]).method.epochs == 7
    assert validation.resolve(found["variation_model"]).epochs is None


def test_ablations_change_one_field_of_the_run_they_are_compared_with():
    given = ablation_study("small,circles")
    given.g, given.P, given.d_glo = (2, 32), ((17,), (17, 33)), (10,)
    given.circles.gcad.method.width = 1 / 16
    found = given.experiments("circles")
    assert list(found) == [
        *("base", "g_2", "P_17_33", "A_glo_from_reconstruction", "distilled_image")
    ]
    base = dataclasses.asdict(found["base"].method)
    assert base["width"] == 1 / 16
    for name, changes in given.changes("circles").items():
        own = dataclasses.asdict(found[name].method)
        assert {k: v for k, v in own.items() if base[k] != v} == dict(changes)
    labels = {
        q.title: [(s.label, s.run) for s in q.settings]
        for q in given.ablation_groups("circles")
    }
    assert labels["Receptive field p"] == [("17", "base"), ("17 + 33", "P_17_33")]
    assert labels["Model branch"] == [(m, "base") for m in ("A_loc", "A_glo", "A")]
    assert isinstance(given, Ablations)


@pytest.mark.parametrize(
    "name", ["benchmark", "ablations", "toy", "seeds", "precision"]
)
def test_config_files_hold_runs_that_can_be_resolved(name):
    for behind in ("", "small") if name == "toy" else ("", "small,circles"):
        given = files.load(f"{CONFIGS}/study_{name}.py:{behind}")
        for dataset in given.groups():
            found = given.experiments(dataset)
            assert found
            for one in found.values():
                validation.resolve(one)
        fields = dict(serialization.leaf_fields(given))
        assert fields["seeds"] == tuple[int, ...]
        assert any(field.endswith(".gcad.method.g") for field in fields)


@LOADS
def test_flags_reach_every_run_of_every_data_set(tmp_path, refuse):
    said = refuse(
        "main",
        f"--config={CONFIGS}/study_benchmark.py:small,circles,folder",
        f"--workdir={tmp_path}",
        "--config.runs=('gcad','vae')",
        "--config.circles.gcad.method.gg=3",
    )
    assert "Did you mean '--config.circles.gcad.method.g'?" in said


@LOADS
def test_the_command_runs_a_study_and_keeps_what_is_done(tmp_path, monkeypatch, capsys):
    arguments = [
        f"--config={CONFIGS}/study_benchmark.py:small,circles",
        f"--workdir={tmp_path}",
        "--config.runs=('variation_model',)",
        "--config.image_size=32",
        "--config.circles.data.num_train=8",
        "--config.circles.data.num_test=2",
    ]
    writes = f"writes      in {tmp_path}: benchmark.json, benchmark.md"
    for more, said in (
        (["--config.plan=True"], writes),
        ([], "evaluate    6 test images"),
        ([], "its results are kept"),
    ):
        assert commands.run_here("main", [*arguments, *more], monkeypatch) == 0
        assert said in capsys.readouterr().out
    assert "| Variation Model |" in (tmp_path / "benchmark.md").read_text()


def ablations_of_base(**fields):
    return make_study(
        Ablations,
        {"circles": make_group(runs.circles(), {"gcad": Cell(method=runs.method())})},
        runs=("base",),
        num_devices=1,
        estimate=False,
        g=(2, 32),
        **fields,
    )


def test_a_report_of_ablations_has_their_names(tmp_path, monkeypatch):
    """Of a run whose numbers are made up."""
    seed = (made_results.scores(0.25, 0.75),)
    maps = {"A_loc": (made_results.scores(0.5, 0.125),), "A_glo": seed}
    done = made_results.result("circles", seed, "circles", **maps)
    monkeypatch.setattr(runner.train_and_evaluate, "run", lambda *_: [done])
    runner.run(ablations_of_base(), str(tmp_path))
    report = (tmp_path / "ablations.md").read_text()
    assert report.startswith("# Ablations of GCAD\n")
    assert "### Model branch (Fig. 12)" in report
    assert re.search(r"\| A_loc +\| +0\.500 +\| +0\.125 ", report)
    assert re.search(r"\| A +\| +0\.250 +\| +0\.750 ", report)
    assert "circles/distilled_image (not run)" in report
    assert (tmp_path / "ablations.png").exists()


@pytest.mark.long
def test_ablations_write_a_report_under_their_names(tmp_path):
    given = ablations_of_base(write_maps=True)
    found = runner.run(given, str(tmp_path))["circles"]
    assert [run.title for run in found.values()] == ["base"]
    report = (tmp_path / "ablations.md").read_text()
    assert report.startswith("# Ablations of GCAD\n")
    assert "### Model branch (Fig. 12)" in report
    assert "circles/distilled_image (not run)" in report
    one = plan.plan_runs(given, tmp_path)[0]
    fields = ("method.learning_rate", "data.root", "seeds")
    error = one.renamed(UserError("set method.learning_rate=1.", *fields))
    assert str(error) == "circles/base: set circles.gcad.method.learning_rate=1."
    assert error.fields[1:] == ("circles.data.root", "seeds")
    assert (tmp_path / "ablations.png").exists()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"P": (17, 33)}, "tuple of tuples"),
        ({"g": (2, 8.5)}, "config.g is .* whole numbers"),
        ({"d_glo": ("5",)}, "config.d_glo is .* whole numbers"),
    ],
)
def test_values_of_the_ablations_have_their_types(tmp_path, fields, says):
    given = ablation_study("small,circles")
    for name, value in fields.items():
        setattr(given, name, value)
    with pytest.raises(UserError, match=says):
        runner.run(given, str(tmp_path / "study"))


def test_the_toy_study_is_of_the_circles_alone():
    assert list(toy_study("small").groups()) == ["circles"]
    with pytest.raises(UserError, match="allowed are '', 'small'"):
        toy_study("loco")


def test_what_cannot_start_is_named_as_in_the_study(tmp_path, capsys):
    given = study(estimate=True)
    given.circles.gcad.method = runs.method(batch_size=100)
    runner.plan(given, str(tmp_path))
    said = capsys.readouterr().out
    assert "estimate    circles/gcad: cannot start: " in said
    assert "circles/variation_model: nothing to train" in said


def test_without_test_images_there_is_a_report_all_the_same(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{i}.png")
    cells = {"variation_model": Cell(method=VariationModel(image_size=32))}
    data = Folder(root=str(images))
    for kind, says in ((Seeds, "There are no test images."), (Benchmark, "| - |")):
        given = make_study(
            kind, {"folder": make_group(data, cells)}, estimate=False, write_maps=True
        )
        runner.run(given, str(tmp_path / "study"))
        assert says in (tmp_path / "study" / f"{given.name}.md").read_text()
