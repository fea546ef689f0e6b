"""What the command lines of the benchmarks share."""

import argparse


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose --help is the text of the module, as it stands there."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


# argparse names these functions in what it says of a mistake: "invalid number value".
def number(text: str) -> int:
    """A whole number, 1 or more."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def numbers(text: str) -> tuple[int, ...]:
    """With commas between."""
    return tuple(map(number, text.split(",")))


def size(text: str) -> tuple[int, int]:
    """Height and width."""
    height, width = numbers(text)
    return height, width


def low_and_high(text: str) -> tuple[int, int]:
    """Two numbers, the second as large or larger."""
    low, high = numbers(text)
    if low > high:
        raise ValueError
    return low, high
