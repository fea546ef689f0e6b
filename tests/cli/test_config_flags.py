"""The flags of the main command, as a person types them."""

import ast
import dataclasses
import pathlib
import subprocess
import sys

import pytest
from helpers import commands, runs

from gcad_jax.config import files
from gcad_jax.core.errors import UserError

CIRCLES = "--config=configs/circles.py"
FOLDER = "--config=configs/folder.py:small"

# Parses the flags as the command does, and prints the resolved config.
PRINT = """
import json
from gcad_jax.config import serialization, validation
from gcad_jax.main import COMMAND

def show(given):
    config = validation.resolve(given.config)
    print(json.dumps(serialization.as_dict(config)))

COMMAND.run(show)
"""


def parse(
    *arguments: str, workdir: bool = True, cwd: pathlib.Path = runs.ROOT
) -> subprocess.CompletedProcess[str]:
    """Only the flags: what follows them is another test's."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            PRINT,
            *arguments,
            *(["--workdir=x"] if workdir else []),
        ],
        cwd=cwd,
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def refused(*arguments: str, workdir: bool = True) -> str:
    done = parse(*arguments, workdir=workdir)
    assert done.returncode == 2, done
    assert done.stdout == ""
    return runs.one_sentence(done.stderr)


@pytest.mark.parametrize("file", runs.CONFIGS, ids=lambda file: file.stem)
@pytest.mark.parametrize("preset", ["", ":small"])
def test_every_config_file_loads(file: pathlib.Path, preset: str) -> None:
    name = f"configs/{file.name}"
    config = files.load(f"{file}{preset}")
    assert dataclasses.is_dataclass(config)
    # Its header is the command that runs it.
    assert f"--config={name}" in ast.get_docstring(ast.parse(file.read_text()))


@pytest.mark.parametrize("file", runs.CONFIGS, ids=lambda file: file.stem)
def test_unknown_preset_names_the_nearest(file: pathlib.Path) -> None:
    with pytest.raises(UserError, match=r"'smal'.*Did you mean 'small'"):
        files.load(f"{file}:smal")


def test_the_config_files_of_the_package_serve_in_any_folder(
    tmp_path: pathlib.Path,
) -> None:
    done = parse("--config=configs/loco.py:small", "--config.epochs=7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"epochs": 7' in done.stdout
    assert "MvtecLocoAd" in done.stdout


def test_a_file_that_is_there_wins(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "configs" / "circles.py"
    name = "configs/circles.py:small"
    assert files.locate(name) == f"{files.SHIPPED}/circles.py:small"
    own.parent.mkdir()
    assert files.locate("configs/loco.py") != "configs/loco.py"
    own.write_text("")
    assert files.locate(name) == name
    for elsewhere in ("circles.py", "mine/configs/circles.py", "configs/mine.py"):
        assert files.locate(elsewhere) == elsewhere


def test_overrides_that_users_rely_on() -> None:
    done = parse(
        "--config=configs/loco.py:small",
        "--config.data.root=/some/where",
        "--config.data.categories=('juice_bottle',)",
        "--config.image_size=96",
        "--config.epochs=7",
        "--config.batch_size=3",
        "--config.seeds=(0,1)",
        "--config.method.g=64",
        "--config.write_maps",
    )
    assert done.returncode == 0, done.stderr
    found = ast.literal_eval(
        done.stdout.replace("true", "True").replace("false", "False")
    )
    assert found["data"]["root"] == "/some/where"
    assert found["data"]["categories"] == ["juice_bottle"]
    assert (found["image_size"], found["epochs"], found["batch_size"]) == (96, 7, 3)
    method = found["method"]
    assert (method["image_size"], method["epochs"], method["batch_size"]) == (96, 7, 3)
    assert found["seeds"] == [0, 1]
    assert method["g"] == 64
    assert found["write_maps"] is True


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", [0]), ("3,", [3]), ("1,2", [1, 2]), ("(5,)", [5])]
)
def test_seeds_may_be_written_without_brackets(text: str, seeds: list[int]) -> None:
    done = parse(CIRCLES, f"--config.seeds={text}")
    assert done.returncode == 0, done.stderr
    assert f'"seeds": {seeds}' in done.stdout


def test_values_may_follow_as_words() -> None:
    done = parse("--config", "configs/circles.py", "--config.epochs", "7")
    assert done.returncode == 0, done.stderr
    assert '"epochs": 7' in done.stdout


# One process each costs two seconds; the others are tried in one process below.
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--config.epoch=3",),
            ("--config.epoch is", "Did you mean '--config.epochs'"),
        ),
        (("--config.epochs=abc",), ("--config.epochs is 'abc'", "a whole number")),
        (("--config.seeds=x",), ("config.seeds", "whole numbers")),
    ],
    ids=lambda value: value[0],
)
def test_mistakes_in_a_process(
    arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    said = refused(CIRCLES, *arguments)
    assert all(word in said for word in words), said


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([CIRCLES, "--config.method.gg=3"], ["Did you mean '--config.method.g'"]),
        ([FOLDER, "--config.dataa.root=x"], ["Did you mean '--config.data.root'"]),
        ([CIRCLES, "-config.epoch=3"], ["Did you mean '--config.epochs'"]),
        ([CIRCLES, "--config.data=3"], ["--config.data is unknown"]),
        ([CIRCLES, "--wrkdir=x"], ["--wrkdir is unknown", "'--workdir'"]),
        ([CIRCLES, "--config.write_maps=maybe"], ["'maybe'", "True or False"]),
        ([CIRCLES, "--config.epochs=3.5"], ["'3.5'", "a whole number"]),
        ([CIRCLES, "--config.epochs="], ["''", "a whole number"]),
        ([CIRCLES, "--config.epochs"], ["--config.epochs"]),
        ([CIRCLES, "--config.method.width=wide"], ["'wide'", "a number"]),
        ([CIRCLES, "--config.seeds=(0,1"], ["'(0,1'", "tuple"]),
        (
            [CIRCLES, "--config.epochs=3", "--config.method.epochs=4"],
            ["--config.epochs=3", "--config.method.epochs=4", "one of them"],
        ),
        (["--config=configs/circle.py"], ["no file", "'configs/circles.py'"]),
        (["--config=nowhere/circle.py"], ["no file", "'configs/circles.py'"]),
        (["--config=loco"], ["no file", "'configs/loco.py'"]),
        (["--config=configs/xyz.py"], ["no file", "There are: configs/auto"]),
        (["--config=configs/loco.py:smal"], ["'smal'", "Did you mean 'small'"]),
        (["--config="], ["--config is missing"]),
        (["--config.epochs=3"], ["--config is missing"]),
        ([], ["--config is missing"]),
        (["config=configs/circles.py"], ["write --config=configs/circles.py"]),
        ([CIRCLES, "--quite"], ["--quite is unknown", "'--quiet'"]),
        ([CIRCLES, "--plans"], ["--plans is unknown", "'--plan'"]),
        ([CIRCLES, "extra"], ["'extra' is not a flag"]),
        (
            [CIRCLES, "--config.seeds=(0,)", "--config.seeds=(1,)"],
            ["--config.seeds is given twice"],
        ),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_mistakes(
    arguments: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = refusal([*arguments, "--workdir=x"], capsys, monkeypatch)
    assert all(word in said for word in words), said


def test_workdir_must_be_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--workdir is missing" in refusal([CIRCLES], capsys, monkeypatch)
    said = refusal([CIRCLES, "--workdir="], capsys, monkeypatch)
    assert "--workdir is missing" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "def get_config(preset=''):\n    return nothing\n",
            ["NameError in line 2 of"],
        ),
        ("def get_config(\n", ["SyntaxError in line 1 of"]),
        ("import gcad_jax.nothing\n", ["ModuleNotFoundError in line 1 of"]),
        ("def get_config(preset=''):\n    return {}['a']\n", ["KeyError in line 2 of"]),
        ("def get_config(preset=''):\n    return 3\n", ["returns 3", "Experiment"]),
        ("x = 3\n", ["has no function 'get_config'"]),
    ],
    ids=["name", "syntax", "import", "key", "number", "no function"],
)
def test_errors_of_a_config_file(
    text: str,
    words: list[str],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    arguments = [f"--config={file}", "--workdir=x"]
    said = refusal(arguments, capsys, monkeypatch)
    assert str(file) in said
    assert all(word in said for word in words), said


def test_help_lists_the_fields_of_a_config(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.ROOT)
    assert commands.run_here("main", [CIRCLES, "--help"], monkeypatch) == 0
    text = capsys.readouterr().out
    assert "Exit codes:" in text
    fields = text.partition("Fields of configs/circles.py:")[2]
    for flag in ("seeds=(0,)", "data.num_train=", "method.learning_rate="):
        assert f"\n  --config.{flag}" in fields
    said = refusal(["--config=configs/circle.py", "--help"], capsys, monkeypatch)
    assert "--config=configs/circle.py: there is no file" in said


def refusal(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """What the main command says in this process."""
    monkeypatch.chdir(runs.ROOT)
    return commands.refusal("main", arguments, monkeypatch, capsys)
