"""A command, defined once: its flags are parsed and its help is printed from that.

Light, so that help and a mistyped flag are answered at once: JAX takes a second.
"""

import dataclasses
import functools
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from gcad_jax.cli.help_text import format_command_line, format_rows, wrap
from gcad_jax.core import console
from gcad_jax.core.checks import nearest
from gcad_jax.core.errors import UserError
from gcad_jax.core.version import __version__

USER_ERROR = 2  # exit codes, beside 0, and 1 for a bug
INTERRUPTED = 130  # 128 + SIGINT, from Ctrl-C
HELP_FLAGS = ("--help", "-h", "-help", "--helpfull")
EXIT_CODES: Mapping[int, str] = {
    0: "done",
    USER_ERROR: "a mistake in flags or files, said in one sentence",
    INTERRUPTED: "stopped by Ctrl-C",
    1: "anything else (a bug: please report it)",
}


# What stands for a value in the help -> its type; any other is text.
INTEGER, POSITIVE_INTEGER, NUMBER = "N", "COUNT", "X"
# Of every command, and of those that take a trained detector: usage -> help.
OUTPUT_FLAGS: Mapping[str, str] = {
    "--quiet": "say only results and errors, without a progress bar",
    "--verbose": """
    say also what libraries log, what is compiled, and where an error arose
    """,
}
DETECTOR_FLAGS: Mapping[str, str] = {
    "--category=NAME": "which, where the run has several",
    "--seed=N": "which, where the run has several; else the first one",
    "--fpr=0.05": """
    share of good images that may be called anomalous: sets the threshold, from the
    validation images of the run
    """,
}


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag; `kind` is the type of its value."""

    name: str
    kind: type
    default: Any = None
    minimum: int | None = None

    @classmethod
    def from_usage(cls, usage: str) -> "Flag":
        """From how one types it: --seed=N, --fpr=0.05, or a switch, --plan, --nomaps.

        A number is the default; the default of a switch is what its usage changes.
        """
        name, equals, value = usage.removeprefix("--").partition("=")
        if not equals:
            return cls(name.removeprefix("no"), bool, name.startswith("no"))
        if value in (INTEGER, POSITIVE_INTEGER):
            return cls(name, int, None, 1 if value == POSITIVE_INTEGER else None)
        if value[0].isdigit():
            return cls(name, float, float(value))
        return cls(name, float if value == NUMBER else str)


@dataclasses.dataclass(frozen=True)
class Command:
    """`python -m gcad_jax.NAME`.

    summary: what it does; its first sentence stands in the list of commands.
    required, optional: how a flag is typed (`Flag.from_usage`) -> what it is for.
    instead: a required flag -> the optional one that may take its place.
    examples: what it is good for -> a command line.
    notes: the end of its help, before the exit codes.
    exit_codes: where they mean more than in `EXIT_CODES`.
    stray: what to say of a word that is no flag.
    interrupted: what to say after Ctrl-C, with the values of flags in braces.
    """

    name: str
    summary: str
    required: Mapping[str, str]
    optional: Mapping[str, str] = dataclasses.field(default_factory=dict)
    instead: Mapping[str, str] = dataclasses.field(default_factory=dict)
    examples: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: str = ""
    exit_codes: Mapping[int, str] = dataclasses.field(default_factory=dict)
    stray: str = "flags begin with --"
    interrupted: str = "stopped; give the same command again."

    @property
    def program(self) -> str:
        """What begins its command line."""
        return f"python -m gcad_jax.{self.name}"

    @property
    def usage(self) -> str:
        """The shortest command line."""
        return " ".join([self.program, *self.required])

    def flags(self) -> dict[str, Flag]:
        """All flags by their names."""
        usages = (*self.required, *self.optional, *OUTPUT_FLAGS)
        return {flag.name: flag for flag in map(Flag.from_usage, usages)}

    def help(self) -> str:
        """What --help prints, in lines of at most 80 characters."""
        parts = [wrap(self.summary), format_command_line(self.usage)]
        for title, line in self.examples.items():
            parts += [wrap(title), format_command_line(line)]
        version = {"--version": "say the version, and stop"}
        optional = {**self.optional, **OUTPUT_FLAGS, **version}
        meanings = {**EXIT_CODES, **self.exit_codes}
        codes = sorted(meanings, key=lambda code: (code == 1, code))  # a bug comes last
        parts += [
            ["Flags that must be given:", *format_rows(self.required.items())],
            ["Other flags:", *format_rows(optional.items())],
            wrap(self.notes),
            ["Exit codes:", *format_rows((str(c), meanings[c]) for c in codes)],
        ]
        return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"

    def run(self, main: Callable[[Any], None]) -> None:
        """Parses the flags and calls `main` with their values; ends the process.

        A UserError that it raises is one sentence and exit code 2. What costs time to
        import it imports itself, so that help and a mistyped flag are answered at once.
        """
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        # What goes wrong in a library is raised and said in one sentence.
        logging.set_verbosity(logging.FATAL)
        app.run(functools.partial(self._call, main), flags_parser=self.parse)

    def _call(self, main: Callable[[Any], None], _: list[str]) -> None:
        try:
            main(flags.FLAGS)
        except UserError as error:
            fail(error, USER_ERROR)
        except KeyboardInterrupt:
            values = flags.FLAGS.flag_values_dict()
            fail(UserError(self.interrupted.format_map(values)), INTERRUPTED)

    def parse(self, argv: list[str]) -> list[str]:
        """Parses the flags; prints the help or the version where that is asked for.

        Exits with code 2 and one sentence for an unknown, missing or repeated flag,
        or a value of the wrong type.
        """
        print_help(argv, self.help)
        self.define_flags()
        try:
            given = given_values(argv)
            check_names(given, self.flags())
            rest = flags.FLAGS(argv)
            self.check_given(given, rest)
            configure_verbosity()
            return rest
        except UserError as error:
            fail(error, USER_ERROR)
        except (flags.Error, ValueError) as error:
            fail(UserError(f"{str(error).rstrip('.')}."), USER_ERROR)

    def define_flags(self) -> None:
        """Defines all flags for absl: when it runs, as commands share some names."""
        for usage, text in {**self.required, **self.optional, **OUTPUT_FLAGS}.items():
            self.define_flag(Flag.from_usage(usage), text)

    def define_flag(self, flag: Flag, text: str) -> None:
        """Defines one for absl, in place of one of the same name. text: its help."""
        defines: Mapping[type, Callable[..., Any]] = {
            str: flags.DEFINE_string,
            int: functools.partial(flags.DEFINE_integer, lower_bound=flag.minimum),
            float: flags.DEFINE_float,
            bool: flags.DEFINE_boolean,
        }
        define = functools.partial(defines[flag.kind], allow_override=True)
        define(flag.name, flag.default, text, flag_values=flags.FLAGS)

    def check_given(self, given: Mapping[str, str], words: Sequence[str]) -> None:
        """Raises UserError for a word that is no flag, or a flag that is missing.

        words: of the command line that are no flags; the first is the program.
        """
        required = [Flag.from_usage(usage).name for usage in self.required]
        missing = [
            name
            for name in required
            if not given.get(name) and not given.get(self.instead.get(name, name))
        ]
        for name, other in self.instead.items():
            if given.get(name) and given.get(other):
                raise UserError(f"--{name} and --{other} name two detectors; give one.")
        for word in words[1:]:
            hint = (
                f"write --{word}" if word.partition("=")[0] in missing else self.stray
            )
            raise UserError(f"{word!r} is not a flag; {hint}.")
        if missing:
            example = next(iter(self.examples.values()), self.usage)
            raise UserError(f"--{missing[0]} is missing; the command is {example}.")


def print_help(argv: Sequence[str], help_text: Callable[[], str]) -> None:
    """Prints the help or the version where it is asked for, and ends the process."""
    if any(argument in HELP_FLAGS for argument in argv):
        print(help_text(), end="")
        sys.exit(0)
    if "--version" in argv:
        print(f"gcad_jax {__version__}")
        sys.exit(0)


def given_values(argv: Sequence[str]) -> dict[str, str]:
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


def check_names(given: Mapping[str, str], known: Collection[str]) -> None:
    """Raises UserError for a flag or field that is unknown."""
    for name in given:
        field = name.startswith("config.")
        if field and not given.get("config"):
            continue  # its absence is the mistake
        # absl turns a boolean off by "no" before its name.
        elsewhere = name in flags.FLAGS or name.removeprefix("no") in flags.FLAGS
        if name not in known and (field or not elsewhere):
            close = nearest(name, (*known, "help", "version"), "--")
            where = f" in {given['config']}" if field else ""
            raise UserError(f"--{name} is unknown{where}.{close}")


def configure_verbosity() -> None:
    """Has --quiet and --verbose take effect.

    Raises:
      UserError: both are given.
    """
    quiet, verbose = flags.FLAGS.quiet, flags.FLAGS.verbose
    if quiet and verbose:
        raise UserError("--quiet and --verbose contradict each other; give one.")
    console.set_verbosity(quiet, verbose)
    if verbose:
        import jax

        logging.set_verbosity(logging.INFO)
        jax.config.update("jax_log_compiles", True)


def fail(error: Exception, code: int) -> NoReturn:
    """Prints one line, behind the traceback where it is wanted; ends the process."""
    if console.verbosity.verbose:
        traceback.print_exception(error)
    sentence = sentence_of(error)
    print(f"error: {sentence}" if code == USER_ERROR else sentence, file=sys.stderr)
    sys.exit(code)


def sentence_of(error: Exception) -> str:
    """An error in one line, with the flags of the command in place of its fields."""
    if isinstance(error, UserError):
        # What is no flag of the command is a field of its config.
        error.rename_fields(
            lambda name: f"--{name}" if name in flags.FLAGS else f"--config.{name}"
        )
    return " ".join(str(error).split())
