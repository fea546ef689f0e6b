"""--plan of a run: what it says of every state of a workdir; nothing is done."""

import os
import re
import shutil
from typing import Any

import jax
import pytest
from helpers import runs
from helpers.doubles import Linear, Scored

from gcad_jax.methods.variation_model import VariationModel
from gcad_jax.runs import plan, train_and_evaluate
from gcad_jax.training.cost.estimate import Cost, duration, megabytes


def planned(config: Any, folder: Any, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said, in lines without breaks."""
    plan.print_plan(plan.plan_run(config, str(folder)))
    return capsys.readouterr().out


def test_every_state_of_a_workdir(tmp_path, capsys):
    folder = tmp_path / "run"
    method = Scored(epochs=3, batch_size=2)
    config = runs.tiny(method=method, seeds=(0, 1), write_maps=True)
    said = planned(config, folder, capsys)
    assert not folder.exists(), "the programs are kept elsewhere here"
    for words in (
        f"plan        Double, nothing is trained; {folder} is new",
        "data        circles/circles, zoomed to 4 x 4",
        "train 12, validation 3, test 2 good, 2 structural, 2 logical",
        "state       not begun",
        "training    3 epochs, 18 updates",
        "layout      2 seeds, batch 2 over 1",
        "phase       fast: 12 steps",
        "phase       both: 6 steps",
        "memory      about",
        f"writes      for 1 category, below {folder}:",
        "anomaly_maps/ 1 MB",
        f"kept        {os.environ['JAX_COMPILATION_CACHE_DIR']}: compiled programs",
    ):
        assert words in said
    assert re.search(r"estimate    about [\d.]+ s of training here: 18 updates", said)

    train_and_evaluate.run(config, str(folder))
    trained = re.search(
        r"trained  .*(\n {12}.*)*\nlayout (.*\n)*?memory .*\n", said
    ).group()
    assert trained in capsys.readouterr().out, "the run says the same"
    before = sorted(folder.rglob("*"))
    said = planned(config, folder, capsys)
    assert "state       finished" in said
    assert "nothing is left to do" in said
    assert sorted(folder.rglob("*")) == before

    (folder / "circles" / "metrics.json").unlink()
    said = planned(config, folder, capsys)
    assert "state       trained, all 18 updates" in said
    assert "nothing is left to train" in said

    checkpoints = folder / "circles" / "checkpoints"
    shutil.move(checkpoints / "18", checkpoints / "16")
    said = planned(config, folder, capsys)
    assert "state       a checkpoint at update 16 of 18" in said
    assert "of training here: 2 updates" in said


def test_a_method_that_trains_nothing(tmp_path, capsys):
    config = runs.tiny(method=VariationModel(image_size=32))
    said = planned(config, tmp_path / "run", capsys)
    assert "estimate    nothing is trained; preparing took" in said
    # Those to validate on set the scale, and are scored again.
    sizes = config.data.num_validation, config.data.num_test
    images = 2 * sizes[0] + 3 * sizes[1]
    assert re.search(rf"scoring takes about .*, for {images} images; results", said)
    assert "checkpoints/" not in said
    assert "detectors/" in said


def test_scoring_is_timed_on_the_devices_that_the_run_scores_on(monkeypatch):
    """On accelerators; here it is handed what stands for them."""
    devices, seen = jax.devices(), []
    score = plan.score_images

    def score_on(*arguments, devices):
        seen.append(devices)
        return score(*arguments, devices=devices)

    monkeypatch.setattr(plan, "accelerators", lambda: devices)
    monkeypatch.setattr(plan, "score_images", score_on)
    method = VariationModel(image_size=32)
    category = runs.circles().load("circles", 32, method.channels)
    assert plan.measure_scoring(method, category, method.prepare(category.train)) > 0
    assert seen == [devices, devices]


def test_a_plan_describes_a_few_training_images(tmp_path, capsys, monkeypatch):
    counts = []

    class Counted(Scored):
        def prepare(self, images):
            counts.append(len(images))
            return super().prepare(images)

    said = planned(runs.tiny(method=Counted()), tmp_path / "run", capsys)
    assert counts == [plan.FEW_IMAGES] * 2
    assert "what is not trained, of 2 of 12 images" in said
    assert "preparing takes at most about" in said
    assert "not compiled" not in said

    # No time is left after the first phase, which is always compiled.
    monkeypatch.setattr(plan, "COMPILING_SECONDS", 0)
    said = planned(runs.tiny(method=Counted()), tmp_path / "run", capsys)
    assert said.count("compiling   the update of") == 1
    assert "not compiled: the update of both; its time is estimated from" in said
    assert "phase       both: " in said


def test_the_command_is_quiet_where_asked(tmp_path):
    file = runs.write_config(tmp_path, "runs.tiny(method=doubles.Scored())")
    arguments = [f"--config={file}", f"--workdir={tmp_path / 'run'}"]
    done = runs.command([*arguments, "--plan", "--quiet"])
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"estimate    about .* of training here: .*\n", done.stdout)


def test_seconds_are_those_of_the_updates_that_are_left():
    cost = Cost({"fast": 2.0, "both": 3.0}, 0, 0, 0, 0, 0, 0, ())
    phases = Linear().phases(4)
    assert [phase.num_steps for phase in phases] == [8, 12]
    assert cost.seconds(phases, 0) == 8 * 2 + 12 * 3
    assert cost.seconds(phases, 5) == 3 * 2 + 12 * 3
    assert cost.seconds(phases, 10) == 10 * 3
    assert cost.seconds(phases, 20) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (99.4, "99 s"),
        (100, "1.7 min"),
        (5000, "83 min"),
        (6000, "1.7 h"),
        (3.6e6, "1,000 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_sizes():
    assert [megabytes(x) for x in (1, 2.4e6, 3.2e9)] == ["1 MB", "2 MB", "3.2 GB"]
