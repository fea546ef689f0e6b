"""What can be wrong with a user's input: one sentence, exit code 2, nothing half done.

The sentences reach the terminal through `main`, which a few tests show in a process of
their own; the others call what `main` calls.
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import runs, trees

from gcad_jax.config import Experiment, serialization, validation
from gcad_jax.core.errors import UserError
from gcad_jax.data.folder import Folder
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.runs import plan, train_and_evaluate, workdir


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refused(config: Experiment, folder: pathlib.Path) -> str:
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


def no_results(folder: pathlib.Path) -> bool:
    """Whether nothing that looks like a result, or half of one, was written."""
    found = [
        path
        for name in ("metrics.json", "details.json", "report.md")
        for path in folder.rglob(name)
    ]
    return not found and not runs.leftovers(folder)


def loco(root: pathlib.Path) -> Experiment:
    data = MvtecLocoAd(root=str(root), categories=("juice_bottle",))
    return runs.tiny(data=data)


def own(root: pathlib.Path) -> Experiment:
    return runs.tiny(data=Folder(root=str(root)))


# -- data ------------------------------------------------------------------------


@pytest.mark.parametrize("of", [loco, own])
def test_missing_folder(
    of: Callable[[pathlib.Path], Experiment], tmp_path: pathlib.Path
) -> None:
    said = refused(of(tmp_path / "nowhere"), tmp_path / "run")
    assert "data.root" in said
    assert str(tmp_path / "nowhere") in said
    assert not (tmp_path / "run").exists(), "not even the folder is made"


@pytest.mark.parametrize("of", [loco, own])
def test_empty_folder(
    of: Callable[[pathlib.Path], Experiment], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "empty").mkdir()
    said = refused(of(tmp_path / "empty"), tmp_path / "run")
    assert str(tmp_path / "empty") in said


@pytest.mark.parametrize("of", [loco, own])
def test_root_that_was_not_given(
    of: Callable[[pathlib.Path], Experiment], tmp_path: pathlib.Path
) -> None:
    config = of(tmp_path)
    config.data = dataclasses.replace(config.data, root="")
    said = refused(config, tmp_path / "run")
    assert "data.root is empty" in said
    assert "Point data.root=" in said or "pass data.root=" in said


def test_category_that_is_not_there(tmp_path: pathlib.Path) -> None:
    trees.make_loco(tmp_path / "data", "pushpins")
    said = refused(loco(tmp_path / "data"), tmp_path / "run")
    assert "'juice_bottle'" in said
    assert "pushpins" in said


def test_category_that_does_not_exist(tmp_path: pathlib.Path) -> None:
    trees.make_loco(tmp_path / "data")
    config = loco(tmp_path / "data")
    config.data = dataclasses.replace(config.data, categories=("juice_botle",))
    assert "Did you mean 'juice_bottle'?" in refused(config, tmp_path / "run")


def unreadable(category: pathlib.Path) -> pathlib.Path:
    file = category / "train/good/002.png"
    file.write_bytes(b"not an image at all")
    return file


def truncated(category: pathlib.Path) -> pathlib.Path:
    file = category / "test/good/001.png"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    return file


def empty_file(category: pathlib.Path) -> pathlib.Path:
    file = category / "validation/good/000.png"
    file.write_bytes(b"")
    return file


def mask_of_another_size(category: pathlib.Path) -> pathlib.Path:
    file = category / "ground_truth/structural_anomalies/000/000.png"
    return trees.save(file, np.full((trees.HEIGHT, trees.WIDTH + 1), 200, np.uint8))


def unknown_value(category: pathlib.Path) -> pathlib.Path:
    file = category / "ground_truth/logical_anomalies/001/000.png"
    return trees.save(file, trees.rectangle(0, 0, 4, 5, 77))


def one_training_image(category: pathlib.Path) -> pathlib.Path:
    for file in sorted((category / "train/good").iterdir())[1:]:
        file.unlink()
    return category / "train/good"


def no_validation_images(category: pathlib.Path) -> pathlib.Path:
    for file in (category / "validation/good").iterdir():
        file.unlink()
    return category / "validation/good"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (unreadable, "not a readable image: its format is not known"),
        (truncated, "not a readable image: image file is truncated"),
        (empty_file, "the file is damaged; replace or remove it"),
        (mask_of_another_size, f"{trees.WIDTH + 1}"),
        (unknown_value, "77.*200.*254.*255.*defects_config.json"),
        (one_training_image, "1 image; at least 2"),
        (no_validation_images, "no images; at least 1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_category_that_is_spoilt(
    spoil: Callable[[pathlib.Path], pathlib.Path], words: str, tmp_path: pathlib.Path
) -> None:
    culprit = spoil(trees.make_loco(tmp_path / "data"))
    said = refused(loco(tmp_path / "data"), tmp_path / "run")
    assert str(culprit) in said
    assert re.search(words, said), said


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (unreadable, "not a readable image: its format is not known"),
        (truncated, "not a readable image: image file is truncated"),
        (one_training_image, "a single training image"),
        (no_validation_images, "no image"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_own_folder_that_is_spoilt(
    spoil: Callable[[pathlib.Path], pathlib.Path], words: str, tmp_path: pathlib.Path
) -> None:
    folder = trees.make_loco(tmp_path / "data")
    (folder / "defects_config.json").unlink()
    culprit = spoil(folder)
    said = refused(own(folder), tmp_path / "run")
    assert str(culprit).removesuffix("/good") in said
    assert words in said


# -- the folder of the run --------------------------------------------------------


def begin(category: pathlib.Path) -> None:
    """As the first checkpoint of a category does."""
    (category / "checkpoints" / "1").mkdir(parents=True)


def test_workdir_of_another_config(tmp_path: pathlib.Path) -> None:
    with workdir.opened(
        str(tmp_path), serialization.as_dict(validation.resolve(runs.tiny()))
    ):
        pass
    begin(tmp_path / "circles")
    before = (tmp_path / "config.json").read_bytes()
    said = refused(runs.tiny(method=runs.method(g=64), epochs=2), tmp_path)
    assert "method.g: 32 -> 64" in said
    assert "epochs: 1 -> 2" in said
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_workdir_that_cannot_be_written(where: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = refused(runs.tiny(), tmp_path / where)
    assert f"workdir={tmp_path / where} cannot be written" in said
    assert (tmp_path / "file").read_text() == "mine"


def test_workdir_in_use(tmp_path: pathlib.Path) -> None:
    config = serialization.as_dict(validation.resolve(runs.tiny()))
    with workdir.opened(str(tmp_path), config):
        assert "in use by another process" in refused(runs.tiny(), tmp_path)


@pytest.mark.parametrize("text", ["", '{"epochs": ', "[1, 2]", "3"])
def test_corrupt_config(text: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text(text)
    said = refused(runs.tiny(), tmp_path)
    assert str(tmp_path / "config.json") in said
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("change", [{"num_train": 13}, {"seed": 1}], ids=str)
def test_data_that_changed_between_runs(
    change: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "circles").mkdir()
    other = runs.circles(**change).load("circles", 32, 3)
    workdir.check_data(tmp_path / "circles", other)
    begin(tmp_path / "circles")
    before = json.loads((tmp_path / "circles/data.json").read_text())
    said = refused(runs.tiny(), tmp_path)
    assert f"({len(other.train)} then, 12 now" in said
    assert json.loads((tmp_path / "circles/data.json").read_text()) == before


# -- devices and numbers ----------------------------------------------------------


def test_batch_that_the_devices_cannot_share(tmp_path: pathlib.Path) -> None:
    said = refused(runs.tiny(batch_size=3, num_devices=2), tmp_path / "run")
    assert "batch_size is 3" in said
    assert "2 devices" in said
    assert not (tmp_path / "run").exists()


def test_more_devices_than_there_are(tmp_path: pathlib.Path) -> None:
    said = refused(runs.tiny(batch_size=64, num_devices=64), tmp_path / "run")
    assert "num_devices is 64" in said


def test_loss_that_is_not_finite(tmp_path: pathlib.Path) -> None:
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


def test_ctrl_c_is_a_sentence(tmp_path: pathlib.Path) -> None:
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
        (["--config=configs/folder.py:small"], "data.root is empty"),
        (["--config=configs/circles.py", "--config.image_size=100"], "multiple of 32"),
    ],
    ids=["data", "config"],
)
def test_in_a_process(arguments: list[str], words: str, tmp_path: pathlib.Path) -> None:
    done = runs.command([*arguments, f"--workdir={tmp_path / 'run'}"])
    assert done.returncode == 2
    assert done.stdout == f"config      {arguments[0].partition('=')[2]}\n"
    assert words in runs.one_sentence(done.stderr)
    assert not (tmp_path / "run").exists()
