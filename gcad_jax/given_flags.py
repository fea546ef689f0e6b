"""What the commands do alike with their flags; light, so that they answer at once."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from absl import flags

from gcad_jax.checks import UserError, nearest

HELP_FLAGS = ("--help", "-h", "-help", "--helpfull")


def fail(error: Exception, code: int) -> NoReturn:
    """Prints one line and ends the process."""
    sentence = " ".join(str(error).split())
    print(f"error: {sentence}" if code == 2 else sentence, file=sys.stderr)
    sys.exit(code)


def asks_for_help(argv: list[str]) -> bool:
    """Whether one of HELP_FLAGS is among the arguments."""
    return any(argument in HELP_FLAGS for argument in argv)


def given_values(argv: list[str]) -> dict[str, str]:
    """Name -> value of the flags in argv, written --name=value or --name value.

    Raises:
      UserError: a flag that is given twice; of some the last would win, tuples would
        be joined.
    """
    values = {}
    for argument, following in itertools.pairwise([*argv[1:], "-"]):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name:
            # A word behind a flag without "=" is its value, if it takes one.
            alone = following.startswith("-")
            if name in values:
                raise UserError(f"--{name} is given twice; give it once.")
            values[name] = value if equals else "" if alone else following
    return values


def check_names(given: Mapping[str, str], known: Sequence[str]) -> None:
    """Raises UserError for a flag or field that is unknown."""
    for name in given:
        field = name.startswith("config.")
        if field and not given.get("config"):
            continue  # its absence is the mistake
        # absl turns a boolean off by "no" before its name.
        elsewhere = name in flags.FLAGS or name.removeprefix("no") in flags.FLAGS
        if name not in known and (field or not elsewhere):
            close = nearest(f"--{name}", [f"--{k}" for k in known])
            where = f" in {given['config']}" if field else ""
            raise UserError(f"--{name} is unknown{where}.{close}")
