"""The fields of one config in words, for its help."""

import operator
import textwrap
from typing import Any

from gcad_jax.config.serialization import leaf_fields
from gcad_jax.core.fields import field_specs, field_texts

WIDTH = 80  # columns of a terminal


def format_fields(config: Any, flag: str = "") -> str:
    """Each field that a flag can set: value, meaning, unit, range and source.

    flag: what stands before the name of a field. Lines have up to `WIDTH` columns, but
    for values that are longer.
    """
    parts = []
    for name, _ in leaf_fields(config):
        parent, _, field = name.rpartition(".")
        owner = operator.attrgetter(parent)(config) if parent else config
        parts.append(f"  {flag}{name}={getattr(owner, field)!r}")
        if text := field_texts(type(owner)).get(field):  # type: ignore[arg-type]
            spec = field_specs(owner).get(field)
            allowed = str(spec.allowed) if spec else ""
            unit = f" ({text.unit})" if text.unit else ""
            words = f"{text.doc}{unit}{allowed and '; '}{allowed} [{text.source}]"
            filled = textwrap.fill(words, WIDTH - 6, break_on_hyphens=False)
            parts.append(textwrap.indent(filled, " " * 6))
    return "\n".join(parts) + "\n"
