"""python -m gcad_jax: says which commands there are."""

import difflib
import sys

from gcad_jax.cli import shared_flags
from gcad_jax.core.errors import UserError

COMMANDS = {
    "main": "trains, evaluates and reports; runs the studies",
    "predict": "marks what is wrong in new images",
    "export": "a trained detector as one jax.export file",
    "evaluate": "scores anomaly maps of any framework",
    "merge": "joins the workdirs of a sweep",
    "convert": "makes a weight file of published weights",
}
HELP = """\
Finds what is wrong in images after seeing only good ones.

Each command is a module, and says more with --help:

"""
HELP += "".join(
    f"  {f'python -m gcad_jax.{name}':<30}{what}\n" for name, what in COMMANDS.items()
)
HELP += """
To begin, with a toy set that is generated (minutes on two CPU cores):

  python -m gcad_jax.main --config=configs/circles.py --workdir=runs/circles
"""


def run(argv: list[str]) -> None:
    """Prints the commands; exits with code 2 for anything but --help and --version."""
    shared_flags.print_help(argv if argv[1:] else ["", "--help"], HELP)
    close = difflib.get_close_matches(argv[1], COMMANDS, n=1) or ["main"]
    told = (
        f"{argv[1]!r} is not a flag; a command is a module, such as "
        f"python -m gcad_jax.{close[0]}; python -m gcad_jax lists all."
    )
    shared_flags.fail(UserError(told), 2)


if __name__ == "__main__":
    run(sys.argv)
