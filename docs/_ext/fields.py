"""The fields of every config, as their classes describe them (gcad_jax/core/fields.py).

Beside each field stands what it is, in which unit, what is allowed, and whose choice
its default is.
"""

import dataclasses
import functools
import inspect
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from gcad_jax.config import files
from gcad_jax.core.fields import FieldText, field_specs, field_texts

ROOT = pathlib.Path(__file__).parents[2]
UNITS = (
    *("pixels", "images", "epochs", "updates", "features", "channels", "patches"),
    *("windows", "degrees", "minutes", "GiB", "devices", "threads", "processes"),
    *("seeds", "passes", "calls", "draws", "gray values", "gray levels"),
    "squared gray levels",
    *(f"fraction of the {whole}" for whole in ("epochs", "images", "area")),
)
# What the sources that a field may name begin with.
SOURCES = ("P ", "ours", "arXiv ", "the method's", "MNAD's", "f-AnoGAN's")
BASELINES = ("small", "small,circles")
# Presets whose values are shown beside the defaults, by config file.
PRESETS: Mapping[str, tuple[str, ...]] = {
    "loco": ("throughput", "small", "narrow"),
    "circles": ("",),
    **dict.fromkeys(
        (
            *("autoencoder", "vae", "fanogan", "mnad", "spade", "student_teacher"),
            "variation_model",
        ),
        BASELINES,
    ),
    "pretrain_teacher": ("dense", "small"),
    **dict.fromkeys(("study_benchmark", "study_ablations", "study_precision"), ("",)),
    **dict.fromkeys(("study_seeds", "study_toy"), ("",)),
    "study_throughput": ("", "small"),
    "study_saturation": ("small", "paper"),
}


@dataclasses.dataclass(frozen=True)
class Field:
    """What a page says of a field.

    default: as a flag would give it; "" where there is none. unit: "" for none.
    allowed: what it may be, in words; "" where its type says it all.
    others: values that presets give it, each with the config files and presets.
    """

    name: str
    text: str
    unit: str
    allowed: str
    source: str
    default: str
    others: Mapping[str, tuple[str, ...]]


def fields(kind: type) -> list[Field]:
    """Those that a class has beside the ones of its parents.

    Raises:
      ValueError: one is not described, or names no known source or unit.
    """
    found = []
    for field in dataclasses.fields(kind):
        if owner(kind, field.name) is kind:
            others = preset_values().get((kind, field.name), {})
            text, name = described(kind, field.name), field.name
            allowed = str(field_specs(kind)[name].allowed)
            default = _default(field)
            found.append(
                Field(name, text.doc, text.unit, allowed, text.source, default, others)
            )
    return found


def described(kind: type, name: str) -> FieldText:
    """What stands below a field in its class.

    Raises:
      ValueError: as `fields`.
    """
    text = field_texts(kind).get(name)
    known = text and text.source.startswith(SOURCES) and text.unit in ("", *UNITS)
    if text is None or not known:
        raise ValueError(
            f"{kind.__qualname__} must say of {name} what it is and, in brackets at "
            "its end, whose choice it is, in a unit of UNITS if it has one."
        )
    return text


def owner(kind: type, name: str) -> type:
    """The class whose fields on the page `name` is among: `kind` itself or a parent.

    What methods have in common is on the page of each, with its own defaults.
    """
    if kind.__module__.startswith("gcad_jax.methods"):
        return kind
    return next(c for c in kind.__mro__ if name in inspect.get_annotations(c))


def reached(config: Any) -> Iterator[tuple[type, str]]:
    """Class and name of every field that a flag of a config can set."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from reached(value)
        else:
            yield owner(type(config), field.name), field.name


@functools.cache
def preset_values() -> dict[tuple[type, str], dict[str, tuple[str, ...]]]:
    """Of each field, what presets set it to, and which."""
    found: dict[tuple[type, str], dict[str, tuple[str, ...]]] = {}
    for file, presets in PRESETS.items():
        for preset in presets:
            path = f"{ROOT}/configs/{file}.py" + (f":{preset}" if preset else "")
            label = pathlib.PurePath(path).name
            for field, value in _changed(files.load(path)):
                values = found.setdefault(field, {})
                values[value] = (*values.get(value, ()), label)
    return found


def _changed(config: Any) -> Iterator[tuple[tuple[type, str], str]]:
    # A study has methods too, with the values of their own presets.
    parts = (
        (config, config.data, config.method) if hasattr(config, "data") else (config,)
    )
    for part in parts:
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if dataclasses.is_dataclass(value) or field.default is dataclasses.MISSING:
                continue
            if value != field.default:
                yield (owner(type(part), field.name), field.name), shown(value)


def _default(field: dataclasses.Field[Any]) -> str:
    return "" if field.default is dataclasses.MISSING else shown(field.default)


def shown(value: Any) -> str:
    """A value as one writes it in Python, numbers with six digits."""
    if isinstance(value, tuple):
        inner = ", ".join(shown(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:g}" if isinstance(value, float) else repr(value)
