"""Checks at the boundary: each raises one sentence that a user can act on."""

import difflib
from collections.abc import Iterable

from gcad_jax.core.errors import UserError


def nearest(name: str, allowed: Iterable[str], before: str = "") -> str:
    """' Did you mean X?' for the nearest allowed name, '' where none is near.

    before: said in front of that name, and not compared: what all names share would
      make every one of them look near.
    """
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean '{before}{close[0]}'?" if close else ""


def one_of(field: str, value: str, allowed: Iterable[str]) -> None:
    """Raises UserError unless `value` is one of `allowed`."""
    allowed = list(allowed)
    if value not in allowed:
        raise UserError(
            f"{field} is {value!r}; allowed are {', '.join(map(repr, allowed))}."
            + ("" if str(value).isdigit() else nearest(str(value), allowed))
        )


def positive(field: str, value: float) -> None:
    """Raises UserError unless `value` is above zero."""
    if not value > 0:
        raise UserError(f"{field} is {value}; it must be above 0.")


def not_negative(field: str, value: float) -> None:
    """Raises UserError for a `value` below zero."""
    if not value >= 0:
        raise UserError(f"{field} is {value}; it must be 0 or more.")


def fraction(field: str, value: float, of: str) -> None:
    """Raises UserError unless `value` is from 0 to 1. of: "of the epochs"."""
    if not 0 <= value <= 1:
        raise UserError(f"{field} is {value}; it is a fraction {of}, from 0 to 1.")


def multiple_of(field: str, value: int, step: int) -> None:
    """Raises UserError unless `value` is a positive multiple of `step`."""
    if value <= 0 or value % step:
        lower = max(step, value // step * step)
        raise UserError(
            f"{field} is {value}; it must be a positive multiple of {step}, "
            f"for example {lower}."
        )
