"""Command lines in scripts and pages, taken apart and checked as the program would."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence

import runs

# Parses each command line by the flags of the main command, and resolves its config.
# A process each, as flags are parsed once; forked, as the imports take seconds.
CHECK = """
import json, os, sys
from gcad_jax import command_line, config, config_files, main
from gcad_jax.config import Experiment

def resolve(argv):
    command_line.parse(argv)
    if isinstance(main.CONFIG.value, Experiment):
        config.resolve(main.CONFIG.value)

config_files.load("configs/circles.py")
for argv in json.load(sys.stdin):
    sys.stdout.flush()
    if not os.fork():
        sys.argv = argv
        resolve(argv)
        os._exit(0)
    if os.wait()[1]:
        sys.exit(" ".join(argv))
"""
ENDS = {"&&", "||", ";", "|", ">", ">>", "2>", "&"}


def of_module(words: Sequence[str], module: str = "main") -> list[list[str]]:
    """Arguments of each `python -m gcad_jax.MODULE` among the words of a shell."""
    found = []
    for place in range(len(words) - 2):
        if list(words[place + 1 : place + 3]) == ["-m", f"gcad_jax.{module}"]:
            rest = words[place + 3 :]
            ends = [i for i, word in enumerate(rest) if word in ENDS]
            found.append(list(rest[: ends[0]] if ends else rest))
    return found


def check(commands: Sequence[Sequence[str]]) -> None:
    """Fails where the main command would refuse the arguments of one."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        input=json.dumps([["main", *command] for command in commands]),
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
