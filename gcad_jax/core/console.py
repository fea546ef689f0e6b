"""Lines and progress bars at the terminal, and how many of them.

Every command can be quiet or verbose, which is set here before anything is printed.
"""

import dataclasses
import shutil
import sys
import textwrap

LABEL_INDENT = " " * 12  # every line begins with a label of this width


@dataclasses.dataclass
class Verbosity:
    """How much is printed.

    quiet: results and errors alone, without progress. verbose: what libraries log too,
    and of errors the place where they arose.
    """

    quiet: bool = False
    verbose: bool = False


verbosity = Verbosity()


def set_verbosity(quiet: bool = False, verbose: bool = False) -> None:
    """Sets how much is printed from now on."""
    verbosity.quiet, verbosity.verbose = quiet, verbose


def print_line(line: str, result: bool = False) -> None:
    """Prints a line, wrapped where it goes to a terminal.

    Of several processes only the first prints it.

    result: what the command was given for; a quiet one prints nothing else.
    """
    # Imported here, as the help of a command does without JAX.
    from gcad_jax.core import multihost

    if not multihost.is_first() or (verbosity.quiet and not result):
        return
    if verbosity.quiet:
        line = line.lstrip("\n")  # no gap to what is not printed
    if sys.stdout.isatty():
        width = max(40, shutil.get_terminal_size().columns)
        line = "\n".join(
            textwrap.fill(
                part, width, subsequent_indent=LABEL_INDENT, break_long_words=False
            )
            for part in line.split("\n")
        )
    print(line, flush=True)


def progress_bar(total: int, done: int, label: str):  # type: ignore[no-untyped-def]
    """A bar over images: rate in images/s and the time left.

    Redrawn twice a second on a terminal, once a minute elsewhere.
    """
    from tqdm import tqdm

    from gcad_jax.core import multihost

    return tqdm(
        total=total,
        initial=done,
        desc=label,
        unit="img",
        unit_scale=True,
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 60.0,
        disable=verbosity.quiet or not multihost.is_first(),
    )


def pluralize(number: int, noun: str, several: str = "") -> str:
    """'1 seed', '2 seeds'; several: a plural that is not made by an s."""
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"
