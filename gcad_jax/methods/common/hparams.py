"""What the report says of a method's fields."""

import dataclasses
from collections.abc import Mapping

from gcad_jax.methods.base import Method


def settings(
    method: Method, paper: Mapping[str, object] | None = None, without: str = ""
) -> str:
    """The fields that are not the paper's, as a sentence.

    paper: the paper's values of fields whose defaults are others. without: a field
    that another sentence names.
    """
    own = dataclasses.asdict(type(method)()) | (paper or {})  # type: ignore[call-overload]
    others = ", ".join(
        f"{name} {getattr(method, name)}"
        for name, value in own.items()
        if name != without and getattr(method, name) != value
    )
    return "Settings: the paper's" + (f", except {others}." if others else ".")
