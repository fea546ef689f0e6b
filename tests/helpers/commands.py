"""Command lines in scripts and pages, taken apart and checked as the program would."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from absl import flags
from helpers import runs

from gcad_jax.cli import command
from gcad_jax.core import console

# Parses each command line by the flags of its command, and resolves the config of a
# run. A process each, as flags are parsed once; forked, as the imports take seconds.
CHECK = """
import importlib, json, os, sys
from absl import app, flags
from gcad_jax.config import Experiment, files, validation

def resolve(name, argv):
    module = importlib.import_module(f"gcad_jax.{name}")
    if hasattr(module, "parser"):  # a script of the measurements
        module.parser().parse_args(argv[1:])
        return
    app.run = lambda main, flags_parser: flags_parser(argv)
    module.COMMAND.run(module.main)
    if name == "main" and isinstance(flags.FLAGS.config, Experiment):
        validation.resolve(flags.FLAGS.config)

files.load("configs/circles.py")
for name, *arguments in json.load(sys.stdin):
    sys.stdout.flush()
    if not os.fork():
        sys.argv = [name, *arguments]
        resolve(name, sys.argv)
        os._exit(0)
    if os.wait()[1]:
        sys.exit(" ".join([name, *arguments]))
"""
ENDS = {"&&", "||", ";", "|", ">", ">>", "2>", "&"}


def run_here(
    name: str, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> int:
    """Runs a command in this process, with flags of its own; returns its exit code."""
    module = importlib.import_module(f"gcad_jax.{name}")
    argv = [name, *arguments]

    def run_app(main: Any, flags_parser: Any) -> None:
        main(flags_parser(argv))

    with monkeypatch.context() as patched:
        patched.setattr(flags, "FLAGS", flags.FlagValues())
        patched.setattr(sys, "argv", argv)  # ml_collections finds the overrides here
        patched.setattr(command.logging, "set_verbosity", lambda _: None)
        patched.setattr(
            command.app, "run", lambda main, flags_parser: main(flags_parser(argv))
        )
        try:
            module.COMMAND.run(module.main)
        except SystemExit as ended:
            return int(ended.code or 0)
        finally:
            console.set_verbosity()
    return 0


def refusal(
    name: str,
    arguments: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """The sentence with which a command, run in this process, ends with code 2."""
    code = run_here(name, arguments, monkeypatch)
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, ""), printed
    return runs.one_sentence(printed.err)


def of_module(words: Sequence[str], module: str = "main") -> list[list[str]]:
    """Arguments of each `python -m gcad_jax.MODULE` among the words of a shell."""
    return [rest for name, *rest in of_modules(words) if name == module]


def of_modules(words: Sequence[str]) -> list[list[str]]:
    """Module and arguments of each `python -m gcad_jax...` among the words."""
    found = []
    for place in range(len(words) - 2):
        module = words[place + 2].partition("gcad_jax.")[2]
        if words[place + 1] == "-m" and module:
            rest = words[place + 3 :]
            ends = [i for i, word in enumerate(rest) if word in ENDS]
            found.append([module, *(rest[: ends[0]] if ends else rest)])
    return found


def check(commands: Sequence[Sequence[str]]) -> None:
    """Fails where the main command would refuse the arguments of one."""
    check_modules([["main", *command] for command in commands])


def check_modules(commands: Sequence[Sequence[str]]) -> None:
    """Fails where a module, the first of the words of each, would refuse the others."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        input=json.dumps(list(commands)),
        cwd=runs.ROOT,
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def lines(page: str) -> Iterator[str]:
    """Commands in the bash blocks of a page, those over several lines as one."""
    for block in re.findall(r"```bash\n(.*?)```", page, re.S):
        yield from filter(None, block.replace("\\\n", " ").splitlines())


def words(line: str) -> list[str]:
    """The words of a line as a shell has them, without a comment."""
    return shlex.split(line, comments=True)
