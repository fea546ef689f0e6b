"""How loudly commands speak, and the help and version that all of them have."""

import importlib
import re

import pytest
from helpers import runs

from gcad_jax import __main__ as commands
from gcad_jax.cli import shared_flags
from gcad_jax.core import console
from gcad_jax.core.console import progress_bar
from gcad_jax.core.errors import UserError


@pytest.fixture(autouse=True)
def _loud_again():
    yield
    console.set_verbosity()


def test_a_quiet_command_says_only_results(capsys):
    console.print_line("data")
    console.set_verbosity(quiet=True)
    console.print_line("data")
    console.print_line("\nreport", result=True)
    with progress_bar(10, 0, "circles") as bar:
        bar.update(10)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("data\nreport\n", "")


@pytest.mark.parametrize("verbose", [False, True])
def test_a_verbose_command_says_where_an_error_arose(verbose, capsys):
    def fails():
        raise UserError("a\nb")

    console.set_verbosity(verbose=verbose)
    with pytest.raises(UserError) as error:
        fails()
    with pytest.raises(SystemExit) as stopped:
        shared_flags.fail(error.value, 2)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.endswith("error: a b\n")
    assert (said != "error: a b\n") == verbose
    assert ("in fails" in said) == verbose


# The main command's is tested in a process: its flags are defined on import.
@pytest.mark.parametrize("name", ["evaluate", "convert", "merge", "predict", "export"])
def test_every_help_fits_a_terminal_and_tells_the_exit_codes(name):
    text = importlib.import_module(f"gcad_jax.{name}").HELP
    assert max(map(len, text.splitlines())) <= 80
    assert f"\n  python -m gcad_jax.{name} --" in text
    assert shared_flags.SHARED_HELP in text
    assert "Exit codes: 0 done; 2 a mistake" in text
    assert "130\nstopped by Ctrl-C" in text or "130 stopped by Ctrl-C" in text


def test_ctrl_c_is_a_sentence_in_every_command(monkeypatch, capsys):
    def main(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shared_flags.app, "run", lambda main, flags_parser: main([]))
    with pytest.raises(SystemExit) as stopped:
        shared_flags.run(main, lambda argv: argv)
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "stopped; give the same command again.\n"


def test_every_command_is_listed(capsys):
    with pytest.raises(SystemExit):
        commands.run(["gcad_jax"])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    listed = set(re.findall(r"python -m gcad_jax\.(\w+)", said))
    there = {
        path.stem
        for path in runs.PACKAGE.glob("*.py")
        if '\nif __name__ == "__main__":' in path.read_text()
    }
    # A measurement for docs/results is nobody's command.
    assert there - {"__main__", "predict_benchmark"} == listed


def test_a_command_is_no_word_behind_the_package(capsys):
    with pytest.raises(SystemExit) as stopped:
        commands.run(["gcad_jax", "predcit"])
    assert stopped.value.code == 2
    assert "python -m gcad_jax.predict" in runs.one_sentence(capsys.readouterr().err)
