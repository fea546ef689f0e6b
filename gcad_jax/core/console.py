"""What a command says to the person at the terminal, and how much of it.

Every command can be quiet or verbose, which is set here before anything is said.
"""

import dataclasses
import shutil
import sys
import textwrap

LABEL_INDENT = " " * 12  # every line begins with a label of this width


@dataclasses.dataclass
class _Loudness:
    """quiet: results and errors alone. verbose: what libraries say too."""

    quiet: bool = False
    verbose: bool = False


_loudness = _Loudness()


def set_verbosity(quiet: bool = False, verbose: bool = False) -> None:
    """How much is said from now on."""
    _loudness.quiet, _loudness.verbose = quiet, verbose


def is_quiet() -> bool:
    """Whether only results are said, and no progress is shown."""
    return _loudness.quiet


def is_verbose() -> bool:
    """Whether errors come with the place where they arose."""
    return _loudness.verbose


def print_line(line: str, result: bool = False) -> None:
    """One line for the person at the terminal, wrapped where it is one.

    Of several processes only the first says it.

    result: what the command was given for; a quiet one says nothing else.
    """
    from gcad_jax.core import (
        multihost,
    )  # here, as the help of a command does without JAX

    if not multihost.is_first() or (_loudness.quiet and not result):
        return
    if _loudness.quiet:
        line = line.lstrip("\n")  # no gap to what is not said
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
        disable=is_quiet() or not multihost.is_first(),
    )


def pluralize(number: int, noun: str, several: str = "") -> str:
    """'1 seed', '2 seeds'; several: a plural that is not made by an s."""
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"
