"""The study of precision: its runs, its flags, its report."""

import json

import jax
import numpy as np
import pytest
from helpers import runs

from gcad_jax.config import files, serialization, validation
from gcad_jax.core.errors import UserError
from gcad_jax.runs import train_and_evaluate
from gcad_jax.studies.grid import runner
from gcad_jax.studies.grid.precision import PRECISE, Precisions, precision_study
from gcad_jax.studies.grid.study import Cell, make_group, make_study

CONFIGS = runs.ROOT / "configs"


def told(given):
    """What config.json of its workdir holds."""
    return serialization.as_dict(validation.resolve(given))


@pytest.mark.parametrize(
    ("behind", "dataset", "file", "method"),
    [
        ("small", "loco", "loco.py:small", "gcad"),
        ("", "loco", "loco.py:", "gcad"),
        ("small,circles", "circles", "circles.py:", "gcad"),
        ("small,mvtec_ad,circles", "mvtec_ad", "mvtec_ad.py:small", "gcad"),
        ("small,circles", "circles", "vae.py:small,circles", "vae"),
        ("small", "loco", "student_teacher.py:small", "student_teacher"),
    ],
)
def test_a_run_is_that_of_the_main_job(behind, dataset, file, method):
    study = files.load(f"{CONFIGS}/study_precision.py:{behind}")
    study.method, study.seeds, study.epochs = method, (0, 1, 2), 6
    found = study.experiments(dataset)
    assert list(found) == ["float32", "bfloat16"]
    for precision, one in found.items():
        alone = files.load(f"{CONFIGS}/{file}")
        alone.seeds, alone.epochs, alone.write_maps = (0, 1, 2), 6, False
        alone.write_detectors = False
        alone.method.precision = precision
        assert told(one) == told(alone)
    float32, bfloat16 = map(told, found.values())
    assert serialization.differences(float32, bfloat16) == [
        "method.precision: 'float32' -> 'bfloat16'"
    ]


def test_five_seeds_of_gcad_by_default():
    study = precision_study("small,circles")
    assert (study.method, study.seeds) == ("gcad", (0, 1, 2, 3, 4))
    assert list(study.groups()) == ["circles"]


def test_every_method_with_a_precision_can_be_named():
    study = precision_study("small,circles")
    assert list(PRECISE) == [
        *("fanogan", "mnad", "autoencoder", "vae", "student_teacher", "gcad")
    ]
    for name, kind in PRECISE.items():
        study.method = name
        for run, one in study.experiments("circles").items():
            found = validation.resolve(one)
            assert (type(found.method), found.method.precision) == (kind, run)
            assert study.label(run, found) == f"{kind.title}, {run}"
            assert study.cell(run) == name


def test_flags_of_the_cell_reach_both_runs():
    study = precision_study("small,circles")
    study.circles.gcad.method.g = 5
    assert [one.method.g for one in study.experiments("circles").values()] == [5, 5]
    assert study.circles.gcad.method.precision == "float32", "flags are not written to"
    fields = dict(serialization.leaf_fields(study))
    assert {fields["method"], fields["circles.gcad.method.epochs"]} == {str, int}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"method": "spade"}, "config.method is 'spade'; allowed are 'fanogan', 'mna"),
        ({"method": "gcd"}, "Did you mean 'gcad'"),
        ({"runs": ("bfloat17",)}, "there are float32, bfloat16.*mean 'bfloat16'"),
        ({"runs": ("float32", "float32")}, "name each run once"),
        ({"seeds": ()}, "one seed or more"),
    ],
)
def test_a_mistake_is_said_before_anything_runs(tmp_path, fields, says):
    study = precision_study("small,circles")
    for name, value in fields.items():
        setattr(study, name, value)
    with pytest.raises(UserError, match=says):
        runner.run(study, str(tmp_path / "study"))
    assert not (tmp_path / "study").exists()


def test_the_command_answers_flags(tmp_path):
    done = runs.command(
        [
            f"--config={CONFIGS}/study_precision.py:small,circles",
            f"--workdir={tmp_path}",
            "--config.method=spade",
            "--config.circles.gcad.method.epochs=2",
        ]
    )
    assert done.returncode == 2
    assert "config.method is 'spade'" in runs.one_sentence(done.stderr)


def test_seeds_begin_with_the_same_weights():
    """So that the two runs of a seed are a pair."""
    one, other = (
        jax.jit(runs.method(precision=precision).init)(jax.random.key(3)).params
        for precision in ("float32", "bfloat16")
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.long
def test_runs_made_one_by_one_are_taken_up(tmp_path, capsys):
    for precision in ("float32", "bfloat16"):
        one = runs.tiny(method=runs.method(precision=precision), seeds=(0, 1))
        train_and_evaluate.run(one, str(tmp_path / "circles" / precision))
    capsys.readouterr()
    study = make_study(
        Precisions,
        {"circles": make_group(runs.circles(), {"gcad": Cell(method=runs.method())})},
        seeds=(0, 1),
        num_devices=1,
        log_every=1,
        estimate=False,
    )
    found = runner.run(study, str(tmp_path))["circles"]
    assert "2 runs x 1 category, 2 finished" in capsys.readouterr().out
    assert [run.title for run in found.values()] == ["GCAD, float32", "GCAD, bfloat16"]
    scores = [run.results[0].combined[0].image_scores for run in found.values()]
    assert scores[0] != scores[1], "bfloat16 is computed with"
    report = (tmp_path / "precision.md").read_text()
    assert report.startswith("# Precision: bfloat16 against float32\n")
    assert report.count("**Within the spread** means: ") == 1
    assert report.count("| within the spread |") == 2
    assert "differences lie within the spread of the seeds." in report
    assert "Not in this report" not in report
    numbers = json.loads((tmp_path / "precision.json").read_text())["circles"]
    assert list(numbers) == ["float32", "bfloat16"]
    for end in ("png", "pdf"):
        assert (tmp_path / f"precision.{end}").stat().st_size > 5_000
