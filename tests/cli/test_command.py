"""The six commands: help, flags, mistakes and how they end."""

import importlib
import re
import subprocess
import sys

import pytest
from helpers import commands, runs

import gcad_jax
from gcad_jax import __main__ as package
from gcad_jax.cli import command, help_text
from gcad_jax.cli.command import Command, Flag
from gcad_jax.core import console
from gcad_jax.core.errors import UserError

MISTAKES = (
    ("evaluate", ["--object_nam=x"], "unknown. Did you mean '--object_name'?"),
    ("evaluate", ["--object_name=x"], "--dataset_base_dir is missing; the command is"),
    ("evaluate", ["--num_parallel_workers=0"], "--num_parallel_workers=0"),
    ("evaluate", ["--niceness=low"], "--niceness=low"),
    ("evaluate", ["pushpins"], "'pushpins' is not a flag"),
    ("merge", ["--parts=x", "--workdir=y"], "--parts=x finds no workdir of a run"),
    ("merge", ["--parts=x"], "--workdir is missing"),
    ("merge", ["--part=x", "--workdir=y"], "Did you mean '--parts'?"),
    ("merge", ["--parts=x", "z", "--workdir=y"], "put the pattern of --parts in quote"),
    ("merge", ["--parts=x", "workdir=y"], "not a flag; write --workdir=y."),
    ("convert", ["--arch=a", "--input=b", "--output=c", "d"], "'d' is not a flag"),
    ("convert", ["--arch=a", "--input=b", "--output=c"], "arch is 'a'; allowed are"),
    ("convert", ["--arch=pdn_small", "--input=b", "--output=c"], "--output=c must end"),
    (
        "convert",
        ["--arch=pdn_small", "--input=b", "--output=c.npz"],
        "b does not exist or is no file; check --input=FILE.",
    ),
    ("predict", ["--images=x", "--output=y"], "--workdir is missing"),
    ("predict", ["--workdirr=x"], "Did you mean '--workdir'?"),
    ("predict", ["--batch_size=0"], "--batch_size=0"),
    ("predict", ["--quiet", "--verbose", "--images=x"], "--workdir is missing"),
    (
        "predict",
        ["--quiet", "--verbose", "--workdir=x", "--images=x", "--output=y"],
        "--quiet and --verbose contradict each other",
    ),
    ("export", ["--workdir=x"], "--output is missing"),
    ("export", ["--workdir=x", "--output=y", "--sead=1"], "Did you mean '--seed'?"),
    (
        "export",
        ["--workdir=x", "--output=y", "--seed=1", "--seed=2"],
        "--seed is given",
    ),
)


@pytest.mark.parametrize(("name", "arguments", "sentence"), MISTAKES)
def test_mistakes(name, arguments, sentence, refuse, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert sentence in refuse(name, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", package.NAMES)
def test_every_help_fits_a_terminal_and_tells_flags_and_exit_codes(
    name, monkeypatch, capsys
):
    assert commands.run_here(name, ["--help"], monkeypatch) == 0
    text = capsys.readouterr().out
    defined = importlib.import_module(f"gcad_jax.{name}").COMMAND
    assert text == defined.help()
    assert max(map(len, text.splitlines())) <= help_text.WIDTH
    assert f"\n  python -m gcad_jax.{name} --" in text
    for flag in defined.flags().values():
        assert f"\n  --{'no' * (flag.default is True)}{flag.name}" in text
    codes = re.findall(r"^  (\d+) ", text.partition("Exit codes:")[2], re.M)
    assert set(map(int, codes)) == {0, 2, 130, 1, *defined.exit_codes}


def test_flags_are_read_from_how_they_are_typed():
    assert Flag.from_usage("--workdir=DIR") == Flag("workdir", str)
    assert Flag.from_usage("--seed=N") == Flag("seed", int)
    assert Flag.from_usage("--batch_size=COUNT") == Flag("batch_size", int, minimum=1)
    assert Flag.from_usage("--fpr=0.05") == Flag("fpr", float, 0.05)
    assert Flag.from_usage("--curve=X") == Flag("curve", float)
    assert Flag.from_usage("--plan") == Flag("plan", bool, False)
    assert Flag.from_usage("--nomaps") == Flag("maps", bool, True)


def test_paragraphs_are_filled_and_indented_lines_stay():
    text = """
    a paragraph that
    is filled:
      a  table
    and one more
    """
    assert help_text.wrap(text, 20) == [
        "a paragraph that is",
        "filled:",
        "  a  table",
        "and one more",
    ]
    assert help_text.format_rows([("--a", "b"), ("--" + "c" * 30, "d")]) == [
        "  --a  b",
        "  --" + "c" * 30,
        "       d",
    ]


@pytest.mark.parametrize("module", package.NAMES)
def test_flags_are_checked_before_anything_large_is_imported(module):
    code = (
        f"import sys, gcad_jax.{module}; print({{'jax', 'numpy'}} & {{*sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=runs.ROOT,
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "set()\n", done


@pytest.mark.parametrize("name", package.NAMES)
def test_version(name, monkeypatch, capsys):
    assert commands.run_here(name, ["--version"], monkeypatch) == 0
    assert capsys.readouterr().out == f"gcad_jax {gcad_jax.__version__}\n"


@pytest.mark.parametrize("verbose", [False, True])
def test_a_verbose_command_says_where_an_error_arose(verbose, capsys):
    def fails():
        raise UserError("a\nb")

    console.set_verbosity(verbose=verbose)
    with pytest.raises(UserError) as error:
        fails()
    with pytest.raises(SystemExit) as stopped:
        command.fail(error.value, 2)
    console.set_verbosity()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.endswith("error: a b\n")
    assert (said != "error: a b\n") == verbose
    assert ("in fails" in said) == verbose


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("merge", "stopped; give the same command again.\n"),
        ("predict", "stopped; y has no scores.csv yet.\n"),
        ("export", "stopped; y is not written.\n"),
    ],
)
def test_ctrl_c_is_a_sentence(name, sentence, monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    module = importlib.import_module(f"gcad_jax.{name}")
    monkeypatch.setattr(module, "main", interrupted)
    values = {"--output=OUT": "y", "--output=FILE": "y"}
    arguments = [
        f"{usage.partition('=')[0]}={values.get(usage, 'x')}"
        for usage in module.COMMAND.required
    ]
    assert commands.run_here(name, arguments, monkeypatch) == 130
    assert capsys.readouterr().err == sentence


def test_an_error_names_the_flags_of_its_fields(refuse, monkeypatch):
    def fails(_):
        fields = ("output", "write_detectors")
        raise UserError("set output=FILE and write_detectors=True.", *fields)

    module = importlib.import_module("gcad_jax.export")
    monkeypatch.setattr(module, "main", fails)
    said = refuse("export", "--workdir=x", "--output=y")
    assert said == "set --output=FILE and --config.write_detectors=True."


def test_every_command_is_listed(capsys):
    with pytest.raises(SystemExit) as stopped:
        package.run(["gcad_jax"])
    assert not stopped.value.code
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= help_text.WIDTH
    there = {
        path.stem
        for path in runs.PACKAGE.glob("*.py")
        if isinstance(
            getattr(importlib.import_module(f"gcad_jax.{path.stem}"), "COMMAND", 0),
            Command,
        )
    }
    assert there == set(package.NAMES)
    assert set(re.findall(r"python -m gcad_jax\.(\w+)", said)) == there


def test_a_command_is_no_word_behind_the_package(capsys):
    with pytest.raises(SystemExit) as stopped:
        package.run(["gcad_jax", "predcit"])
    assert stopped.value.code == 2
    assert "python -m gcad_jax.predict" in runs.one_sentence(capsys.readouterr().err)
