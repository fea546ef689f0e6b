"""python -m gcad_jax: says which commands there are."""

import sys

from gcad_jax import given_flags
from gcad_jax.checks import UserError, nearest

COMMANDS = {
    "main": "trains, evaluates and reports; also studies and pretraining",
    "predict": "marks what is wrong in new images with a trained detector",
    "export": "a trained detector as one jax.export file",
    "evaluate": "scores anomaly maps of any framework",
    "merge": "joins the workdirs of a sweep",
    "convert": "published weights as a weight file of this program",
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
    given_flags.answer(argv if argv[1:] else ["", "--help"], HELP)
    name = argv[1]
    close = f" Did you mean python -m gcad_jax.{name}?" if name in COMMANDS else ""
    told = f"{name!r} does not follow gcad_jax; python -m gcad_jax lists the commands."
    given_flags.fail(UserError(told + (close or nearest(name, COMMANDS))), 2)


if __name__ == "__main__":
    run(sys.argv)
