"""A command with --config: its fields are flags too, --config.NAME=VALUE."""

import ast
import operator
import re
import sys
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from gcad_jax.cli import command
from gcad_jax.cli.command import Command, Flag
from gcad_jax.core.errors import UserError
from gcad_jax.core.fields import kinds_of

# By type: what a value is called where another is given, and what reads one; of a
# switch, nothing behind it means True.
KINDS: Mapping[type, tuple[str, Callable[[str], Any]]] = {
    bool: ("True or False", lambda text: not text or flags.BooleanParser().parse(text)),
    int: ("a whole number", int),
    float: ("a number", float),
    tuple: (
        """a tuple in quotes, such as "(0,1)" or "('juice_bottle',)\"""",
        ast.literal_eval,
    ),
}
# The same of a field that takes a number or a tuple of them.
ONE_OR_SEVERAL = (
    'a whole number, or several in quotes, such as "(256,512)"',
    ast.literal_eval,
)


class ConfigCommand(Command):
    """A `Command` with a flag --config."""

    def define_flag(self, flag: Flag, text: str) -> None:
        """As `Command`; ml_collections defines --config and what it finds behind it."""
        if flag.name == "config":
            define_config(sys.argv)
        else:
            super().define_flag(flag, text)

    def help_with_fields(self, argv: list[str]) -> str:
        """What --help prints; of a config that is given too, its fields."""
        path = command.given_values(argv).get("config")
        if not path:
            return self.help()
        from gcad_jax.config.field_help import format_fields
        from gcad_jax.config.files import load

        listed = format_fields(load(path), "--config.")
        return f"{self.help()}\nFields of {path}:\n\n{listed}"

    def parse(self, argv: list[str]) -> list[str]:
        """Parses the flags and the fields; prints the help or the version.

        Exits with code 2 and one sentence for an unknown flag or field, a wrong type, a
        missing flag, or a config file that cannot be loaded.
        """
        self.define_flags()
        given: dict[str, str] = {}
        types: dict[str, Any] = {}
        try:
            command.print_help(argv, lambda: self.help_with_fields(argv))
            given = command.given_values(argv)
            path = given.get("config", "")
            if path:
                # Imported here, so that --help and a mistyped flag answer at once.
                from gcad_jax.config import files, serialization

                fields = serialization.leaf_fields(files.load(path))
                types = {f"config.{name}": kind for name, kind in fields}
            command.check_names(given, [*types, *self.flags()])
            check_overriding(given)
            # Before absl, which without a config would not know its fields.
            values = given.values()
            words = [w for w in argv if w[:1] != "-" and w not in values]
            self.check_given(given, words)
            # ml_collections knows one type a field: what has several is read here.
            mixed = {k: v for k, v in given.items() if _takes_several(types.get(k))}
            if wrong := wrong_type(mixed, types):
                raise wrong
            left = [_with_file_found(word, path) for word in _without(argv, mixed)]
            define_config(left)
            rest = flags.FLAGS(left)
            self.check_given(given, rest)
            for name, value in mixed.items():
                set_field(flags.FLAGS.config, name.removeprefix("config."), value)
            command.configure_verbosity()
            return rest
        except UserError as error:
            command.fail(error, command.USER_ERROR)
        except flags.IllegalFlagValueError as error:
            all_types = types | {f.name: f.kind for f in self.flags().values()}
            wrong = wrong_type(given, all_types) or UserError(_one_line(error))
            command.fail(wrong, command.USER_ERROR)
        except (flags.Error, ValueError, TypeError, OSError, KeyError) as error:
            command.fail(UserError(_one_line(error)), command.USER_ERROR)


def define_config(argv: list[str]) -> None:
    """Defines --config, in place of an earlier one, for the fields named in `argv`."""
    config_flags.DEFINE_config_file(
        "config", flag_values=flags.FLAGS, sys_argv=argv, allow_override=True
    )


def set_field(config: Any, name: str, text: str) -> None:
    """Sets a field, such as "method.image_size", to the literal that a text is."""
    parent, _, field = name.rpartition(".")
    owner = operator.attrgetter(parent)(config) if parent else config
    setattr(owner, field, ast.literal_eval(text))


def _takes_several(annotation: Any) -> bool:
    """Whether a field takes values of several types, None aside."""
    return len(set(kinds_of(annotation)) - {type(None)}) > 1


def _without(argv: Sequence[str], names: Collection[str]) -> list[str]:
    """The command line without some flags, and without words that are their values."""
    left, is_value = [], False
    for word in argv:
        name, equals, _ = word.lstrip("-").partition("=")
        if word.startswith("-") and name in names:
            is_value = not equals
        elif is_value:
            is_value = False
        else:
            left.append(word)
    return left


def _with_file_found(word: str, path: str) -> str:
    """A word of the command, with the file of the package where `path` means that."""
    from gcad_jax.config.files import locate

    flag, equals, value = word.rpartition("=")
    return f"{flag}{equals}{locate(path)}" if value == path else word


def check_overriding(given: Mapping[str, str]) -> None:
    """Raises UserError for a value that is given twice over, in two ways."""
    if not given.get("config"):
        return
    from gcad_jax.config.validation import OVERRIDING

    for short in OVERRIDING:
        one, other = f"config.{short}", f"config.method.{short}"
        if one in given and given.get(other, given[one]) != given[one]:
            raise UserError(
                f"--{one}={given[one]} and --{other}={given[other]} contradict each "
                "other; both set the same value, so give one of them."
            )


def wrong_type(given: Mapping[str, str], types: Mapping[str, Any]) -> UserError | None:
    """What to say of the first value that cannot be read as the type of its field."""
    for name, value in given.items():
        kind = next((k for k in KINDS if _is_type(types.get(name), k)), None)
        words, parse = KINDS.get(kind, ("", str))  # type: ignore[arg-type]
        if _takes_several(types.get(name)):
            words, parse = ONE_OR_SEVERAL
        try:
            parse(value)
        except (ValueError, SyntaxError):
            single = kind is int and not _takes_several(types.get(name))
            if single and (first := re.match(r"\W*(\d+)\s*,", value)):
                # A method that takes squares alone has a size of one number.
                words = f"a single whole number, such as {first[1]}"
            return UserError(f"--{name} is {value!r}; it must be {words}.")
    return None


def _is_type(annotation: Any, kind: type) -> bool:
    """Whether an annotation is `kind`, `kind | None` or `kind[...]`."""
    parts = [annotation, typing.get_origin(annotation), *typing.get_args(annotation)]
    return kind in parts[:2] or (kind in parts and type(None) in parts)


def _one_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    # A config file's own error arrives as a traceback: its last line says it.
    return lines[-1] if "Traceback" in str(error) else lines[0]
