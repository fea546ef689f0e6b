"""python -m gcad_jax: says which commands there are."""

import difflib
import importlib
import sys

from gcad_jax.cli.command import USER_ERROR, Command, fail, print_help
from gcad_jax.cli.help_text import format_rows, wrap
from gcad_jax.core.errors import UserError

NAMES = ("main", "predict", "export", "evaluate", "merge", "convert")


def help_text() -> str:
    """The commands, each with the first sentence of its own help."""
    commands: list[Command] = [
        importlib.import_module(f"gcad_jax.{name}").COMMAND for name in NAMES
    ]
    lines = [
        "Finds what is wrong in images after seeing only good ones.",
        "",
        "Each command is a module, and says more with --help:",
        "",
    ]
    for command in commands:
        first_sentence = " ".join(wrap(command.summary)).partition(". ")[0].rstrip(".")
        lines += [
            f"  {command.program}",
            *format_rows([("", f"{first_sentence}.")]),
            "",
        ]
    lines += [
        "To begin, with a toy set that is generated (minutes on two CPU cores):",
        "",
        "  python -m gcad_jax.main --config=configs/circles.py --workdir=runs/circles",
    ]
    return "\n".join(lines) + "\n"


def run(argv: list[str]) -> None:
    """Prints the commands; exits with code 2 for anything but --help and --version."""
    print_help(argv if argv[1:] else ["", "--help"], help_text)
    close = difflib.get_close_matches(argv[1], NAMES, n=1) or ["main"]
    sentence = (
        f"{argv[1]!r} is not a flag; a command is a module, such as "
        f"python -m gcad_jax.{close[0]}; python -m gcad_jax lists all."
    )
    fail(UserError(sentence), USER_ERROR)


if __name__ == "__main__":
    run(sys.argv)
