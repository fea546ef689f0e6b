"""The help of a command, in lines of at most 80 characters."""

import inspect
import itertools
import textwrap
from collections.abc import Iterable

WIDTH = 80
LABEL_WIDTH = 20  # labels that are longer have a line of their own


def format_rows(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Labels and, beside them, their texts."""
    rows = list(rows)
    width = max(
        (len(label) for label, _ in rows if len(label) <= LABEL_WIDTH), default=0
    )
    lines = []
    for label, text in rows:
        beside = wrap(text, WIDTH - width - 4)
        if len(label) > width:
            lines.append(f"  {label}")
            label = ""
        lines += [
            f"  {word:<{width}}  {line}".rstrip()
            for word, line in itertools.zip_longest([label], beside, fillvalue="")
        ]
    return lines


def format_command_line(line: str) -> list[str]:
    """A command line, indented, continued in further lines where it is long."""
    words = textwrap.wrap(
        line,
        WIDTH - 2,  # room for the backslash
        initial_indent="  ",
        subsequent_indent=" " * 6,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"{words_of_line} \\" for words_of_line in words[:-1]] + words[-1:]


def wrap(text: str, width: int = WIDTH) -> list[str]:
    """The lines of a text, paragraphs filled; lines that are indented stay."""
    lines: list[str] = []
    kinds = itertools.groupby(
        inspect.cleandoc(text).splitlines(), lambda line: line[:1].strip() != ""
    )
    for is_paragraph, group in kinds:
        if is_paragraph:
            lines += textwrap.wrap(
                " ".join(group),
                width,
                break_long_words=False,
                break_on_hyphens=False,
            )
        else:
            lines += group
    return lines
