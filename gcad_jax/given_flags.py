"""What the commands do alike with their flags; light, so that they answer at once."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from absl import flags

import gcad_jax
from gcad_jax.checks import UserError, nearest

HELP_FLAGS = ("--help", "-h", "-help", "--helpfull")


def fail(error: Exception, code: int) -> NoReturn:
    """Prints one line and ends the process."""
    sentence = " ".join(str(error).split())
    print(f"error: {sentence}" if code == 2 else sentence, file=sys.stderr)
    sys.exit(code)


def answer(argv: list[str], text: str) -> None:
    """Prints `text` where help is asked for, or the version, and ends the process."""
    if any(argument in HELP_FLAGS for argument in argv):
        print(text, end="")
        sys.exit(0)
    if "--version" in argv:
        print(f"gcad_jax {gcad_jax.__version__}")
        sys.exit(0)


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


def parse_all(
    argv: list[str],
    names: Sequence[str],
    text: str,
    example: str,
    stray: str,
    optional: Sequence[str] = (),
) -> list[str]:
    """Parses the flags of a command that needs every one of `names`.

    Prints `text` where help is asked for, as `answer` does; exits with code 2 and one
    sentence for an unknown or missing flag. example: of the command. stray: what to say
    of a word that is no flag. optional: the other flags that it knows.
    """
    answer(argv, text)
    try:
        given = given_values(argv)
        check_names(given, (*names, *optional))
        for name in names:
            if not given.get(name):
                raise UserError(f"--{name} is missing; the command is {example}.")
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"{rest[1]!r} is not a flag; {stray}.")
        return rest
    except UserError as error:
        fail(error, 2)
    except flags.Error as error:
        fail(UserError(f"{str(error).rstrip('.')}."), 2)
