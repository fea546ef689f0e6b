"""A field of a config: default, meaning, unit, source and range in one place.

Validation, docs/config.md and the help of a config all read what stands there, so that
no two of them can disagree:

    g: int = fields.field(32, fields.CHANNELS)
    \"\"\"Dimensions of the code (features) [P 5.2].\"\"\"
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import re
import typing
from collections.abc import Mapping
from types import UnionType
from typing import Any, NamedTuple

from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError

REQUIRED = dataclasses.MISSING  # the default of a field that has none
_KEY = "gcad_jax"  # of the metadata of a dataclass field
# "What it is (unit) [source]."; a unit is of lower-case words, or GiB.
_TEXT = re.compile(r"(.+?)(?: \(([a-zG][a-zB ]*)\))? \[([^\]]+)\]\.")
_WORDS = {
    int: ("a whole number", "whole numbers", "(1, 2)"),
    float: ("a number", "numbers", "(0.5, 1.0)"),
    bool: ("True or False", "True or False", "(True, False)"),
    str: ("a text in quotes", "names in quotes", "('A', 'B')"),
    tuple: ("a tuple", "a tuple of tuples", "((17,), (17, 33))"),
}


@dataclasses.dataclass(frozen=True)
class Allowed:
    """What a value may be. Of a tuple: what each of its items may be.

    above, at_least, at_most: bounds of a number; without `at_most` what 32 bits hold.
    reason: why no more than `at_most`. too_low: what is said below the lower bound.
    multiple_of: of which the number is a positive multiple.
    choices: the only values.
    item: what an item of a tuple is called. count: how many there must be; None for any
        number. fewest: how many at least. distinct: whether each may be there once.
    names: of the items of a tuple that has so many. share_of: what it is a fraction of.
    """

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    reason: str = ""
    too_low: str = ""
    multiple_of: int | None = None
    choices: tuple[Any, ...] = ()
    item: str = "value"
    count: int | None = None
    fewest: int = 0
    distinct: bool = False
    names: tuple[str, ...] = ()
    share_of: str = ""

    def items(self, item: str, count: int | None = None, **others: Any) -> "Allowed":
        """The same of each item of a tuple."""
        return dataclasses.replace(self, item=item, count=count, **others)

    def __str__(self) -> str:
        """In words, as "above 0, at most 16"; "" where the type says it all."""
        if self.choices:
            return "one of " + ", ".join(
                f'"{c}"' if isinstance(c, str) else str(c) for c in self.choices
            )
        words = []
        if self.multiple_of:
            words.append(f"a multiple of {self.multiple_of}")
        if self.above is not None:
            words.append(f"above {self.above}")
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least} to {self.at_most}"
        if self.at_least is not None:
            words.append(f"{self.at_least} or more")
        if self.at_most is not None:
            words.append(f"at most {self.at_most}")
        return ", ".join(words)


ANYTHING = Allowed()
POSITIVE = Allowed(above=0)
NOT_NEGATIVE = Allowed(at_least=0)
FRACTION = Allowed(at_least=0, at_most=1)
SHARE_OF_EPOCHS = Allowed(at_least=0, at_most=1, share_of="epochs")
CHANNELS = Allowed(
    above=0,
    at_most=2**14,
    reason="one 3 x 3 convolution of that width has 2.4 billion weights",
)
# The widest layer of the paper's networks has 1024 channels.
FACTOR = Allowed(
    above=0, at_most=16, reason="the networks have up to 1024 channels before it"
)
BATCH = Allowed(
    above=0, at_most=2**16, reason="at the smallest size those images fill a device"
)
SIDE = 8192  # pixels
_SIDE_REASON = f"one image of {SIDE} x {SIDE} pixels takes 0.8 GB as float32"
DEGREES = Allowed(at_least=0, at_most=180)
PIXELS = Allowed(above=0, at_most=SIDE, reason=_SIDE_REASON)


# The side of a square, or both sides.
SIDES = PIXELS.items("side", names=("height", "width"))


def image_side(multiple_of: int) -> Allowed:
    """A side of square images that a network halves several times."""
    return Allowed(multiple_of=multiple_of, at_most=SIDE, reason=_SIDE_REASON)


def image_sides(multiple_of: int) -> Allowed:
    """The side of such an image, or both where it is not square."""
    return image_side(multiple_of).items("side", names=SIDES.names)


def choices(*values: Any) -> Allowed:
    """One of some values."""
    return Allowed(choices=values)


@dataclasses.dataclass(frozen=True)
class FieldSpec:
    """What is known of a field beside its default and its text.

    run_only: whether it changes how a run proceeds but nothing that it computes, so
        that a workdir may be continued with another value.
    """

    allowed: Allowed = ANYTHING
    run_only: bool = False


def field(default: Any, allowed: Allowed = ANYTHING, *, run_only: bool = False) -> Any:
    """A field of a dataclass; the docstring below it says what it is.

    default: `REQUIRED` for none. run_only: see `FieldSpec`.
    """
    metadata = {_KEY: FieldSpec(allowed, run_only)}
    return dataclasses.field(default=default, metadata=metadata)


def changed(kind: type, name: str, default: Any, allowed: Allowed | None = None) -> Any:
    """The field of a parent class with another default; its text too, unless given."""
    spec = field_specs(kind)[name]
    return field(default, allowed or spec.allowed, run_only=spec.run_only)


def field_specs(kind: Any) -> Mapping[str, FieldSpec]:
    """The fields that `field` made, by name. kind: a dataclass or an instance."""
    return {
        part.name: part.metadata[_KEY]
        for part in dataclasses.fields(kind)
        if _KEY in part.metadata
    }


def kinds_of(annotation: Any) -> tuple[Any, ...]:
    """The types of a union; one type alone where it is none."""
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        return typing.get_args(annotation)
    return (annotation,)


class FieldText(NamedTuple):
    """What the docstring below a field says.

    doc: what it is. unit: "" for none. source: whose choice the default is.
    """

    doc: str
    unit: str
    source: str


@functools.cache
def field_texts(kind: type) -> Mapping[str, FieldText]:
    """The texts of the fields of a dataclass, its parents' included, by their names.

    They are read from the source of the classes; where there is none, such as of a
    class that a program made, nothing is said.

    Raises:
      ValueError: a text that does not end with a source.
    """
    texts: dict[str, FieldText] = {}
    for part in reversed(kind.__mro__):
        for line, below in itertools.pairwise(_class_body(part)):
            match line, below:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(
                    ast.Constant(str(text))
                ):
                    texts[name] = _parse_text(f"{part.__qualname__}.{name}", text)
    return texts


def _class_body(kind: type) -> list[ast.stmt]:
    """The statements of a class; none where its source is not there."""
    if not dataclasses.is_dataclass(kind):
        return []
    # A class may say that it is of another module than its functions are, as GCAD does.
    functions = (value for value in vars(kind).values() if inspect.isfunction(value))
    for module in map(inspect.getmodule, (kind, *functions)):
        try:
            tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
        except (OSError, TypeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
                return node.body
    return []


def _parse_text(name: str, text: str) -> FieldText:
    match = _TEXT.fullmatch(" ".join(text.split()))
    if not match:
        raise ValueError(
            f"the docstring of {name} must end with a source, as in '(pixels) [P 5.2].'"
        )
    return FieldText(*match.groups(default=""))


def validate_fields(instance: Any, prefix: str = "") -> None:
    """Raises UserError for the first documented field whose value is not allowed.

    prefix: before each name, such as "data."; "" for a method.
    """
    types = {part.name: part.type for part in dataclasses.fields(instance)}
    for name, spec in field_specs(instance).items():
        _check(f"{prefix}{name}", getattr(instance, name), types[name], spec.allowed)


def _check(name: str, value: Any, annotation: Any, allowed: Allowed) -> None:
    kinds = kinds_of(annotation)
    if value is None and type(None) in kinds:
        return
    # One of them is of tuples, or none is: the one that the value means to be.
    tuples = [kind for kind in kinds if typing.get_origin(kind) is tuple]
    means_tuple = tuples and isinstance(value, (tuple, list))
    annotation = tuples[0] if means_tuple else kinds[0]
    if typing.get_origin(annotation) is tuple:
        _check_items(name, value, typing.get_args(annotation), allowed)
    elif annotation in _WORDS:
        if not allowed.choices and not _is_a(value, annotation):
            words = _WORDS[annotation][0]
            if tuples:
                words += f" or a tuple of {' and '.join(allowed.names)}"
            raise UserError(f"{name} is {value!r}; it must be {words}.")
        _check_one(name, value, annotation, allowed)


def _check_items(
    name: str, values: Any, kinds: tuple[Any, ...], allowed: Allowed
) -> None:
    """A tuple: its length, and each of its items."""
    kind = kinds[0]
    _, several, example = _WORDS.get(kind, _WORDS[tuple])
    # What is none of the choices is said better than what is of another type.
    any_type = allowed.choices and kind in _WORDS
    if not isinstance(values, (tuple, list)) or not (
        any_type or all(_is_a(value, kind) for value in values)
    ):
        # A method knows its fields by their names, a config by "method." before them.
        path = name.removeprefix("config.") if "." in name else f"method.{name}"
        raise UserError(
            f'{name} is {values!r}; it must be {several}, as in {path}="{example}".',
            path,
        )
    if ... not in kinds and len(values) != len(kinds):
        raise UserError(
            f"{name} is {values}; it must be {len(kinds)} {several}: "
            f"{', '.join(allowed.names)}."
        )
    if allowed.count is not None and len(values) != allowed.count:
        raise UserError(
            f"{name} is {values}; it must name {allowed.count} {allowed.item}s."
        )
    if len(values) < allowed.fewest or (
        allowed.distinct and len(set(values)) < len(values)
    ):
        once = ", each once" if allowed.distinct else ""
        raise UserError(
            f"{name} is {values}; it must name one {allowed.item} or more{once}."
        )
    for value in values:
        _check(name, value, kind, allowed)


def _is_a(value: Any, kind: type) -> bool:
    """Whether a value is of a kind; True and False are no numbers."""
    if typing.get_origin(kind) is tuple:
        return isinstance(value, (tuple, list))
    kinds = (int, float) if kind is float else kind
    return isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))


def _check_one(name: str, value: Any, kind: type, allowed: Allowed) -> None:
    """A single value, or one item of a tuple."""
    if allowed.choices and kind is str:
        one_of(name, value, allowed.choices)
    elif allowed.choices:
        # 17.0 equals 17, but is no size in pixels.
        if not any(type(value) is type(c) and value == c for c in allowed.choices):
            raise UserError(f"{name} is {value!r}; allowed are {allowed.choices}.")
    elif kind in (int, float):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} is {value}; it must be a finite number.")
        if reason := _outside(value, kind, allowed):
            raise UserError(f"{name} is {value}; {reason}.")


def _outside(value: float, kind: type, allowed: Allowed) -> str:
    """Why a finite number is refused; "" where it is allowed."""
    low, high = allowed.at_least, allowed.at_most
    step = allowed.multiple_of
    if step and (value <= 0 or value % step):
        example = min(max(step, int(value // step * step)), high or value)
        return f"it must be a positive multiple of {step}, for example {example}"
    too_low = (allowed.above is not None and not value > allowed.above) or (
        low is not None and value < low
    )
    if too_low and allowed.too_low:
        return allowed.too_low
    if high is not None and not allowed.reason and (too_low or value > high):
        # Both bounds are in the nature of the thing.
        share = f"is a fraction of the {allowed.share_of}," if allowed.share_of else ""
        return f"it {share or 'must be'} {allowed}"
    if too_low and allowed.above is not None:
        return f"it must be above {allowed.above}"
    if too_low:
        return f"it must be {low} or more"
    if high is not None and value > high:
        return f"it must be at most {high}: {allowed.reason}"
    if kind is int and not -(2**31) <= value < 2**31:
        return f"it must be below 2**31 ({2**31}): whole numbers have 32 bits"
    if kind is float and abs(value) > 3e38:
        return "it must be at most 3e+38: float32 holds no larger number"
    return ""
