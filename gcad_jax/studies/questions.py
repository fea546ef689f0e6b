"""What a study of settings asks: which runs are compared, and how they are called."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from gcad_jax.types import COMBINED


@dataclasses.dataclass(frozen=True)
class Setting:
    """One bar of a figure.

    label: the value. run: its name. changes: the fields that it changes. branch: the
    map that is looked at.
    """

    label: str
    run: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    branch: str = COMBINED


@dataclasses.dataclass(frozen=True)
class Question:
    """Settings that are compared. title: what differs. figure: the paper's."""

    title: str
    figure: str
    settings: tuple[Setting, ...]
