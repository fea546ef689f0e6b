"""One panel of a figure: its numbers and its form."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from gcad_jax.evaluation.results import Number

BARS, POINTS, VALUES = "bars", "points", "values"


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel.

    title, measure: above it, and at its axis.
    values: by label of the group, then for structural, logical and mean one number for
        each seed; None where there is none.
    paper: the paper's three numbers by label, drawn as lines where they compare.
    form: BARS from 0 to 1, a dot a seed; POINTS, one a seed, close up; VALUES, over an
        axis of the numbers that the labels are, the other labels behind them.
    """

    title: str
    measure: str
    values: Mapping[str, Sequence[Sequence[Number]]]
    paper: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    form: str = BARS

    def groups(self) -> Iterator[tuple[int, str, int, list[float]]]:
        """Place and label of a group, number of a kind, and its numbers, if any."""
        for place, (label, kinds) in enumerate(self.values.items()):
            for k, seeds in enumerate(kinds):
                if known := [x for x in seeds if x is not None]:
                    yield place, label, k, known

    @property
    def known(self) -> list[float]:
        """Every number of it."""
        return [x for *_, known in self.groups() for x in known]

    @property
    def several(self) -> bool:
        """Whether anything has more than one seed."""
        return any(len(seeds) > 1 for kinds in self.values.values() for seeds in kinds)
