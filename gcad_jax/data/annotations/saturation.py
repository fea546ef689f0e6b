"""Saturation of an annotated region: how many of its pixels must be found [P 3.4].

A missing object may lie anywhere within its annotated area, so that finding a part of
the area is finding the defect. `defects_config.json` of MVTec LOCO AD says how much.
"""

import dataclasses
import json
import numbers
import os
from typing import Any

from etils import epath

from gcad_jax.core.errors import UserError, one_line

_KEYS = ("defect_name", "pixel_value", "saturation_threshold", "relative_saturation")


@dataclasses.dataclass(frozen=True)
class Defect:
    """One entry of `defects_config.json`: a type of defect of one category.

    defect_name: unique in the category.
    pixel_value: the positive value of its masks, 1..255, unique in the category.
    saturation_threshold: above 0; a fraction of the area, at most 1, where
        `relative_saturation`, else a whole number of pixels.
    """

    defect_name: str
    pixel_value: int
    saturation_threshold: float
    relative_saturation: bool


def saturation(threshold: float, relative: bool, area: int, name: str = "") -> int:
    """Pixels of a region of `area` pixels that must be found, in 1..area.

    int(threshold * area), the product in float64, where `relative`; else
    min(threshold, area): the numbers of the official evaluator 2.0.

    name: how errors call the region, for example its mask file.

    Raises:
      UserError: a threshold outside its range, or a saturation of 0 pixels.
    """
    name = name or "a region"
    _check_threshold(name, threshold, relative)
    pixels = int(float(threshold) * area) if relative else min(int(threshold), area)
    if pixels < 1:
        raise UserError(
            f"{name} has {area} pixels and saturation_threshold {threshold}, so it "
            "saturates at 0 pixels, but at least 1 is needed; enlarge the mask or "
            "the threshold."
        )
    return pixels


def read_defects(path: str | os.PathLike[str]) -> tuple[Defect, ...]:
    """The entries of a `defects_config.json`, in its order.

    Raises:
      UserError: a file that is missing or no JSON list of objects, a missing key, a
        value outside its range, a name or a pixel value that occurs twice.
    """
    try:
        entries = json.loads(epath.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({one_line(error)}); it must list the defects."
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f"{path} must be a JSON list with one object for each defect, but is "
            f"{'an empty list' if entries == [] else type(entries).__name__}."
        )
    defects = tuple(
        _defect(f"{path}, entry {number}", entry)
        for number, entry in enumerate(entries, start=1)
    )
    for field in ("pixel_value", "defect_name"):
        values = [getattr(defect, field) for defect in defects]
        twice = [value for value in values if values.count(value) > 1]
        if twice:
            raise UserError(
                f"{path} has {field} {twice[0]!r} {values.count(twice[0])} times; "
                "every entry needs its own."
            )
    return defects


def _defect(name: str, entry: Any) -> Defect:
    if not isinstance(entry, dict):
        raise UserError(f"{name} must be a JSON object, but is {entry!r}.")
    missing = [key for key in _KEYS if key not in entry]
    if missing:
        raise UserError(
            f"{name} lacks {' and '.join(missing)}; needed are {', '.join(_KEYS)}."
        )
    defect_name, value, threshold, relative = (entry[key] for key in _KEYS)
    if not isinstance(defect_name, str) or not defect_name:
        raise UserError(f"{name} has defect_name {defect_name!r}; it must be a text.")
    name = f"{name} ({defect_name})"
    if type(value) is not int or not 1 <= value <= 255:
        raise UserError(
            f"{name} has pixel_value {value!r}; it must be an integer from 1 to 255."
        )
    if not isinstance(relative, bool):
        raise UserError(
            f"{name} has relative_saturation {relative!r}; it must be true or false."
        )
    _check_threshold(name, threshold, relative)
    return Defect(defect_name, value, float(threshold), relative)


def _check_threshold(name: str, threshold: Any, relative: bool) -> None:
    number = isinstance(threshold, numbers.Real) and not isinstance(threshold, bool)
    if not number or not threshold > 0:
        raise UserError(
            f"{name} has saturation_threshold {threshold!r}; it must be a number "
            "above 0."
        )
    if relative and threshold > 1:
        raise UserError(
            f"{name} has the relative saturation_threshold {threshold!r}; it is a "
            "fraction of the area and at most 1."
        )
    if not relative and threshold != int(min(threshold, 2**53)):
        raise UserError(
            f"{name} has the absolute saturation_threshold {threshold!r}; it counts "
            "pixels and must be an integer (or set relative_saturation)."
        )
