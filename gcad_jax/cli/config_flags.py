"""A command with --config: its fields are flags too, --config.NAME=VALUE."""

import ast
import typing
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags
from ml_collections import config_flags

from gcad_jax.cli import command
from gcad_jax.cli.command import Command, Flag
from gcad_jax.core.errors import UserError

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


class ConfigCommand(Command):
    """A `Command` with a flag --config."""

    def define_flag(self, flag: Flag, text: str) -> None:
        """As `Command`; ml_collections defines --config and what it finds behind it."""
        if flag.name == "config":
            config_flags.DEFINE_config_file("config", flag_values=flags.FLAGS)
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
            rest = flags.FLAGS([_with_file_found(word, path) for word in argv])
            self.check_given(given, rest)
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
        try:
            parse(value)
        except (ValueError, SyntaxError):
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
