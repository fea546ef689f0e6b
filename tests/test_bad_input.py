"""What can be wrong with a user's input: one sentence, exit code 2, nothing half done.

The sentences reach the terminal through `main`, which a few tests show in a process of
their own; the others call what `main` calls.
"""

import json
import re

import numpy as np
import pytest
from helpers import runs, trees

from gcad_jax.config import serialization, validation
from gcad_jax.core.errors import UserError
from gcad_jax.data.folder import Folder
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.runs import plan, train_and_evaluate, workdir


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refused(config, folder):
    """The sentence of a run that must not begin; a plan of it says the same."""
    with pytest.raises(UserError) as planned:
        plan.plan_run(config, str(folder))
    with pytest.raises(UserError) as error:
        train_and_evaluate.run(config, str(folder))
    said = str(error.value)
    assert str(planned.value) == said
    assert "\n" not in said
    assert said.endswith((".", "?"))
    assert no_results(folder)
    return said


def no_results(folder):
    """Whether nothing that looks like a result, or half of one, was written."""
    names = ("metrics.json", "details.json", "report.md")
    return not any(map(list, map(folder.rglob, names))) and not runs.leftovers(folder)


def loco(root, category="juice_bottle"):
    return runs.tiny(data=MvtecLocoAd(root=str(root), categories=(category,)))


def own(root):
    return runs.tiny(data=Folder(root=str(root)))


# -- data ------------------------------------------------------------------------


def replace(path, content=b""):
    """Gives a file of a category other content."""

    def spoil(category):
        (category / path).write_bytes(content)
        return category / path

    return spoil


def cut_in_half(path):
    def spoil(category):
        whole = (category / path).read_bytes()
        return replace(path, whole[: len(whole) // 2])(category)

    return spoil


def draw(path, mask):
    return lambda category: trees.save(category / path, mask)


def remove(folder, first=0):
    """Removes the files of a folder but for the first ones."""

    def spoil(category):
        for file in sorted((category / folder).iterdir())[first:]:
            file.unlink()
        return category / folder

    return spoil


TRUTH = "ground_truth/structural_anomalies/000/000.png"
WIDER = np.full((trees.HEIGHT, trees.WIDTH + 1), 200, np.uint8)
UNREADABLE = replace("train/good/002.png", b"not an image at all")
CUT = cut_in_half("test/good/001.png")
ONE_IMAGE = remove("train/good", 1)
NO_VALIDATION = remove("validation/good")
SPOILT = {
    "unreadable": (loco, UNREADABLE, "not a readable image: its format is not known"),
    "cut": (loco, CUT, "not a readable image: image file is truncated"),
    "empty file": (
        loco,
        replace("validation/good/000.png"),
        "the file is damaged; replace or remove it",
    ),
    "mask of another size": (loco, draw(TRUTH, WIDER), f"{trees.WIDTH + 1}"),
    "unknown value": (
        loco,
        draw(
            "ground_truth/logical_anomalies/001/000.png",
            trees.rectangle(0, 0, 4, 5, 77),
        ),
        "77.*200.*254.*255.*defects_config.json",
    ),
    "one training image": (loco, ONE_IMAGE, "1 image; at least 2"),
    "no validation images": (loco, NO_VALIDATION, "no images; at least 1"),
    "own, unreadable": (own, UNREADABLE, "not a readable image: its format is not kno"),
    "own, cut": (own, CUT, "not a readable image: image file is truncated"),
    "own, one training image": (own, ONE_IMAGE, "a single training image"),
    "own, no validation images": (own, NO_VALIDATION, "no image"),
}


@pytest.mark.parametrize(("of", "spoil", "words"), SPOILT.values(), ids=SPOILT)
def test_a_category_that_is_spoilt(of, spoil, words, tmp_path):
    category = trees.make_loco(tmp_path / "data")
    if of is own:
        (category / "defects_config.json").unlink()
    culprit = str(spoil(category))
    said = refused(of(category if of is own else tmp_path / "data"), tmp_path / "run")
    assert (culprit.removesuffix("/good") if of is own else culprit) in said
    assert re.search(words, said), said


@pytest.mark.parametrize("of", [loco, own])
def test_folders_that_are_not_there_or_empty(of, tmp_path):
    said = refused(of(tmp_path / "nowhere"), tmp_path / "run")
    assert "data.root" in said
    assert str(tmp_path / "nowhere") in said
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refused(of(tmp_path / "empty"), tmp_path / "run")
    said = refused(of(""), tmp_path / "run")
    assert "data.root is empty" in said
    assert "Point data.root=" in said or "pass data.root=" in said
    assert not (tmp_path / "run").exists(), "not even the folder is made"


def test_categories_that_are_not_there(tmp_path):
    trees.make_loco(tmp_path / "data", "pushpins")
    said = refused(loco(tmp_path / "data"), tmp_path / "run")
    assert "'juice_bottle'" in said
    assert "pushpins" in said
    misspelt = loco(tmp_path / "data", "juice_botle")
    assert "Did you mean 'juice_bottle'?" in refused(misspelt, tmp_path / "run")


# -- the folder of the run --------------------------------------------------------


def begin(category):
    """As the first checkpoint of a category does."""
    (category / "checkpoints" / "1").mkdir(parents=True)


def test_workdir_of_another_config_or_in_use(tmp_path):
    config = serialization.as_dict(validation.resolve(runs.tiny()))
    with workdir.open_workdir(str(tmp_path), config):
        assert "in use by another process" in refused(runs.tiny(), tmp_path)
    begin(tmp_path / "circles")
    before = (tmp_path / "config.json").read_bytes()
    said = refused(runs.tiny(method=runs.method(g=64), epochs=2), tmp_path)
    assert "method.g: 32 -> 64" in said
    assert "epochs: 1 -> 2" in said
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_workdir_that_cannot_be_written(where, tmp_path):
    (tmp_path / "file").write_text("mine")
    said = refused(runs.tiny(), tmp_path / where)
    assert f"workdir={tmp_path / where} cannot be written" in said
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("text", ["", '{"epochs": ', "[1, 2]", "3"])
def test_corrupt_config(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    assert str(tmp_path / "config.json") in refused(runs.tiny(), tmp_path)
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("change", [{"num_train": 13}, {"seed": 1}], ids=str)
def test_data_that_changed_between_runs(change, tmp_path):
    (tmp_path / "circles").mkdir()
    other = runs.circles(**change).load("circles", 32, 3)
    workdir.check_data(tmp_path / "circles", other)
    begin(tmp_path / "circles")
    before = json.loads((tmp_path / "circles/data.json").read_text())
    assert f"({len(other.train)} then, 12 now" in refused(runs.tiny(), tmp_path)
    assert json.loads((tmp_path / "circles/data.json").read_text()) == before


# -- devices and numbers ----------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "num_devices", "words"),
    [(3, 2, "batch_size is 3, which 2 devices"), (64, 64, "num_devices is 64")],
)
def test_devices_that_do_not_fit(batch_size, num_devices, words, tmp_path):
    config = runs.tiny(batch_size=batch_size, num_devices=num_devices)
    assert words in refused(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_loss_that_is_not_finite(tmp_path):
    body = "runs.tiny(method=runs.method(learning_rate=1e38), checkpoint_minutes=0.0)"
    file = runs.write_config(tmp_path, body)
    folder = tmp_path / "run"
    done = runs.command([f"--config={file}", f"--workdir={folder}"])
    assert done.returncode == 2
    # The bar and the sentence share the stream.
    said = runs.one_sentence("error: " + done.stderr.rpartition("error: ")[2])
    assert "Traceback" not in done.stderr
    assert re.search(r"(nan|inf|not finite)", said)
    assert "step" in said
    assert "--config.method.learning_rate" in said
    assert no_results(folder)
    # What was saved before it is fit to continue from.
    if runs.checkpoint_steps(folder / "circles"):
        state = runs.saved_state(folder / "circles")
        assert all(np.isfinite(leaf).all() for leaf in state.values())


def test_ctrl_c_is_a_sentence(tmp_path):
    file = runs.write_config(tmp_path, "runs.tiny(data=Interrupted())")
    interrupted = (
        "\n\nclass Interrupted(runs.Circles):\n"
        "    def names(self):\n        raise KeyboardInterrupt\n"
    )
    file.write_text(file.read_text() + interrupted)
    done = runs.command([f"--config={file}", f"--workdir={tmp_path / 'run'}"])
    assert done.returncode == 130
    assert re.fullmatch("stopped; the same command continues .*\\.\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config=configs/folder.py:small"], "Point --config.data.root=FOLDER at"),
        (["--config=configs/circles.py", "--config.image_size=100"], "multiple of 32"),
    ],
    ids=["data", "config"],
)
def test_in_a_process(arguments, words, tmp_path):
    done = runs.command([*arguments, f"--workdir={tmp_path / 'run'}"])
    assert done.returncode == 2
    assert done.stdout == f"config      {arguments[0].partition('=')[2]}\n"
    assert words in runs.one_sentence(done.stderr)
    assert not (tmp_path / "run").exists()
