"""What the commands do alike with their flags; light, so that they answer at once."""

import functools
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from absl import app, flags, logging

from gcad_jax.core import console
from gcad_jax.core.checks import nearest
from gcad_jax.core.errors import UserError
from gcad_jax.core.version import __version__

INTERRUPTED = 130  # exit code: 128 + SIGINT, from Ctrl-C
HELP_FLAGS = ("--help", "-h", "-help", "--helpfull")
QUIET = flags.DEFINE_boolean("quiet", False, "Only results and errors.")
VERBOSE = flags.DEFINE_boolean("verbose", False, "What libraries say too.")
# Of every command, and the end of its help.
SHARED = ("help", "version", "quiet", "verbose")
SHARED_HELP = """\
  --quiet     say only results and errors, without a progress bar
  --verbose   say also what libraries log, what is compiled, and where an error
              arose
  --version   say the version, and stop
"""


def run(main: Callable[[list[str]], None], parse: Callable[..., list[str]]) -> None:
    """Runs a command: libraries silent, its flags parsed by `parse`, then `main`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # What goes wrong in a library is raised and said in one sentence.
    logging.set_verbosity(logging.FATAL)
    app.run(functools.partial(_stoppable, main), flags_parser=parse)


def _stoppable(main: Callable[[list[str]], None], argv: list[str]) -> None:
    """Ctrl-C, where a command has no sentence of its own for it, is a sentence too."""
    try:
        main(argv)
    except KeyboardInterrupt:
        fail(UserError("stopped; give the same command again."), INTERRUPTED)


def configure_verbosity() -> None:
    """Has --quiet and --verbose take effect; call it when the flags are parsed.

    Raises:
      UserError: both are given.
    """
    if QUIET.value and VERBOSE.value:
        raise UserError("--quiet and --verbose contradict each other; give one.")
    console.set_verbosity(QUIET.value, VERBOSE.value)
    if VERBOSE.value:
        import jax

        logging.set_verbosity(logging.INFO)
        jax.config.update("jax_log_compiles", True)


def fail(error: Exception, code: int) -> NoReturn:
    """Prints one line, behind the traceback where it is wanted; ends the process."""
    if console.is_verbose():
        traceback.print_exception(error)
    sentence = sentence_of(error)
    print(f"error: {sentence}" if code == 2 else sentence, file=sys.stderr)
    sys.exit(code)


def sentence_of(error: Exception) -> str:
    """An error in one line, with the flags of the command in place of its fields."""
    if isinstance(error, UserError):
        error.rename_fields(flag_of)
    return " ".join(str(error).split())


def flag_of(field: str) -> str:
    """The flag that sets a field: one of the command, or else of its config."""
    return f"--{field}" if field in flags.FLAGS else f"--config.{field}"


def print_help(argv: list[str], text: str) -> None:
    """Prints `text` where help is asked for, or the version, and ends the process."""
    if any(argument in HELP_FLAGS for argument in argv):
        print(text, end="")
        sys.exit(0)
    if "--version" in argv:
        print(f"gcad_jax {__version__}")
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
            close = nearest(name, (*known, *SHARED), "--")
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

    Prints `text` where help is asked for; exits with code 2 and one
    sentence for an unknown or missing flag. example: of the command. stray: what to say
    of a word that is no flag. optional: the other flags that it knows.
    """
    print_help(argv, text)
    try:
        given = given_values(argv)
        check_names(given, (*names, *optional))
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"{rest[1]!r} is not a flag; {stray}.")
        for name in names:
            if not given.get(name):
                raise UserError(f"--{name} is missing; the command is {example}.")
        configure_verbosity()
        return rest
    except UserError as error:
        fail(error, 2)
    except (flags.Error, ValueError) as error:
        fail(UserError(f"{str(error).rstrip('.')}."), 2)
