"""The ablations: one setting changed at a time, in the order of Fig. 12 and 14."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gcad_jax.core.types import COMBINED
from gcad_jax.evaluation.scores import KIND_OR_MEAN
from gcad_jax.reporting.plots.line_panel import is_axis
from gcad_jax.reporting.plots.panel import BARS, VALUES, Panel
from gcad_jax.reporting.tables import HEADS, LIMIT, auspro, cell, markdown_table
from gcad_jax.studies.grid.figure import panel
from gcad_jax.studies.grid.results import MEASURES, Finished


@dataclasses.dataclass(frozen=True)
class AblationSetting:
    """One bar of a figure.

    label: the value. run: its name. changes: the fields that it changes. branch: the
    map that is looked at.
    """

    label: str
    run: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    branch: str = COMBINED


@dataclasses.dataclass(frozen=True)
class AblationGroup:
    """Settings that are compared. title: what differs. figure: the paper's."""

    title: str
    figure: str
    settings: tuple[AblationSetting, ...]


def sections(
    dataset: str, runs: Mapping[str, Finished], questions: Sequence[AblationGroup]
) -> list[str]:
    """A table for each question, of the runs that there are."""
    parts = [
        f"## {dataset}",
        "Numbers are those of the combined map A but where a branch is named.",
    ]
    for question, shown in _answered(runs, questions):
        rows = [
            [
                label,
                *(
                    cell(run.values(pick, kind))
                    for pick in MEASURES.values()
                    for kind in KIND_OR_MEAN
                ),
            ]
            for label, run in shown.items()
        ]
        heads = [f"{name} {head}" for name in MEASURES for head in HEADS]
        parts += [
            f"### {question.title} ({question.figure})",
            markdown_table([question.title, *heads], rows, 1),
        ]
    return parts


def panels(
    dataset: str, runs: Mapping[str, Finished], questions: Sequence[AblationGroup]
) -> list[Panel]:
    """AU-sPRO at 0.05 for each question, of the runs that there are.

    Over the values of a setting where they are numbers, else as bars.
    """
    made = []
    for question, shown in _answered(runs, questions):
        title, measure = f"{question.title}, {dataset}", f"AU-sPRO up to {LIMIT}"
        form = VALUES if is_axis(list(shown)) else BARS
        one = panel(title, measure, shown, auspro)
        made.append(dataclasses.replace(one, form=form))
    return made


def _answered(
    runs: Mapping[str, Finished], questions: Sequence[AblationGroup]
) -> list[tuple[AblationGroup, dict[str, Finished]]]:
    """The questions with their results by label, where there are two or more."""
    answered = []
    for question in questions:
        shown = {
            setting.label: runs[setting.run].of_branch(setting.branch)
            for setting in question.settings
            if setting.run in runs
        }
        if len(shown) > 1:
            answered.append((question, shown))
    return answered
