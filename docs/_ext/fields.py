"""The fields of every config, read off the docstrings of their classes.

A docstring says of each field what it is, in which unit, and whose choice its default
is: `name: what it is (unit) [source].`, several lines indented.
"""

import dataclasses
import functools
import inspect
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gcad_jax.config import files

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
    "loco": ("throughput", "small"),
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
_ENTRY = re.compile(r"(\w+): (.*(?:\n +.*)*)")
_SAID = re.compile(r"(.*?)(?: \(([^()]+)\))? \[([^\]]+)\]\.", re.S)


@dataclasses.dataclass(frozen=True)
class Field:
    """What a page says of a field.

    default: as a flag would give it; "" where there is none. unit: "" for none.
    others: values that presets give it, each with the config files and presets.
    """

    name: str
    text: str
    unit: str
    source: str
    default: str
    others: Mapping[str, tuple[str, ...]]


def fields(kind: type) -> list[Field]:
    """Those that a class has beside the ones of its parents.

    Raises:
      ValueError: the docstring is silent about one, or names no known source.
    """
    found = []
    for field in dataclasses.fields(kind):
        if owner(kind, field.name) is kind:
            others = preset_values().get((kind, field.name), {})
            text, unit, source = described(kind, field.name)
            name, default = field.name, _default(field)
            found.append(Field(name, text, unit, source, default, others))
    return found


def described(kind: type, name: str) -> tuple[str, str, str]:
    """What a field is, its unit ("" for none), and whose choice its default is.

    Raises:
      ValueError: as `fields`.
    """
    said = dict(_ENTRY.findall(inspect.cleandoc(kind.__doc__ or "")))
    match = _SAID.fullmatch(" ".join(said.get(name, "").split()))
    if not match or not match[3].startswith(SOURCES):
        raise ValueError(
            f"the docstring of {kind.__qualname__} must say of {name} what "
            "it is and, in brackets at its end, whose choice it is."
        )
    text, unit, source = match[1], match[2] or "", match[3]
    if unit and unit not in UNITS:  # a remark in parentheses
        text, unit = f"{text} ({unit})", ""
    return text, unit, source


def owner(kind: type, name: str) -> type:
    """The class of which `kind` has a field: itself or a parent."""
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
