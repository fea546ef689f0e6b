"""The fields of one config in words, for its help."""

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

from gcad_jax.core.fields import FieldText, field_specs, field_texts

WIDTH = 80  # columns of a terminal
_WRAPPING: dict[str, Any] = {
    "initial_indent": " " * 6,
    "subsequent_indent": " " * 6,
    "break_on_hyphens": False,
}


def format_fields(config: Any, flag: str = "") -> str:
    """Each field that a flag can set: value, meaning, unit, range and source.

    flag: what stands before the name of a field. Lines have up to `WIDTH` columns, but
    for values that are longer.
    """
    parts = []
    for name, value, text, allowed in _documented(config):
        parts.append(f"  {flag}{name}={value!r}")
        if text:
            unit = f" ({text.unit})" if text.unit else ""
            words = f"{text.doc}{unit}{allowed and '; '}{allowed} [{text.source}]"
            parts.append(textwrap.fill(words, WIDTH, **_WRAPPING))
    return "\n".join(parts) + "\n"


def _documented(
    config: Any, prefix: str = ""
) -> Iterator[tuple[str, Any, FieldText | None, str]]:
    """Name, value, text and range of each field that is not a dataclass itself."""
    texts = field_texts(type(config))  # type: ignore[arg-type]
    specs = field_specs(config)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _documented(value, f"{prefix}{field.name}.")
        else:
            allowed = str(specs[field.name].allowed) if field.name in specs else ""
            yield f"{prefix}{field.name}", value, texts.get(field.name), allowed
