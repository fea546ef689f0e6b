"""The fields of one config in words, for its help."""

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

from gcad_jax.core.fields import FieldSpec, field_specs

WIDTH = 80  # columns of a terminal
_WRAPPING: dict[str, Any] = {
    "initial_indent": " " * 6,
    "subsequent_indent": " " * 6,
    "break_on_hyphens": False,
}


def format_fields(config: Any, flag: str = "--config.") -> str:
    """Each field that a flag can set: value, meaning, unit, range and source.

    flag: what stands before the name of a field. Lines have up to `WIDTH` columns, but
    for values that are longer.
    """
    parts = []
    for name, value, spec in _documented(config):
        parts.append(f"  {flag}{name}={value!r}")
        if spec:
            unit = f" ({spec.unit})" if spec.unit else ""
            allowed = f"; {spec.allowed}" if str(spec.allowed) else ""
            text = f"{spec.doc}{unit}{allowed} [{spec.source}]"
            parts.append(textwrap.fill(text, WIDTH, **_WRAPPING))
    return "\n".join(parts) + "\n"


def _documented(
    config: Any, prefix: str = ""
) -> Iterator[tuple[str, Any, FieldSpec | None]]:
    """Name, value and description of each field that is not a dataclass itself."""
    specs = field_specs(config)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _documented(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value, specs.get(field.name)
