"""The ablations: one setting changed at a time, in the order of Fig. 12 and 14."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gcad_jax.config import Experiment
from gcad_jax.config.presets import narrow
from gcad_jax.core import fields
from gcad_jax.core.types import COMBINED
from gcad_jax.methods.gcad import GCAD
from gcad_jax.methods.gcad.method import RECONSTRUCTION, REGRESSION
from gcad_jax.methods.gcad.networks import FEATURES, IMAGE
from gcad_jax.models.patch_layers import PATCH_SIZES
from gcad_jax.reporting.plots.panels import BARS, VALUES, Panel, is_axis
from gcad_jax.reporting.tables import (
    LIMIT,
    MEASURES,
    auspro,
    markdown_table,
    measure_cells,
)
from gcad_jax.studies.grid.presets import study_of_methods
from gcad_jax.studies.grid.results import FinishedRun, make_panel
from gcad_jax.studies.grid.study import Study

BASE = "base"  # the run that the others change


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


@dataclasses.dataclass(eq=False, kw_only=True)
class Ablations(Study):
    """GCAD with one setting changed at a time: Fig. 12 and 14.

    The group of a data set has one field, gcad; every run is that with one field
    changed, so that flags reach all of them at once.
    """

    g: tuple[int, ...] = fields.field((2, 8, 32, 64, 128), fields.CHANNELS)
    """Its values (features) [P Fig. 12; the values are ours]."""
    P: tuple[tuple[int, ...], ...] = fields.field(
        ((17,), (33,), (65,), (17, 33), (17, 33, 65)), fields.choices(*PATCH_SIZES)
    )
    """Its values, a tuple each (pixels) [P Fig. 12; the values are ours]."""
    d_glo: tuple[int, ...] = fields.field((2, 5, 10, 20, 40), fields.CHANNELS)
    """Its values (features) [P Fig. 14; the values are ours]."""

    name = "ablations"
    title = "Ablations of GCAD"

    def label(self, run: str, config: Experiment) -> str:
        """Its name: all are GCAD."""
        del config
        return run

    def cell(self, run: str) -> str:
        """One for all."""
        del run
        return "gcad"

    def explains(self, run: str) -> bool:
        """The others differ from it by what their names say."""
        return run == BASE

    def sections(self, dataset: str, runs: Mapping[str, FinishedRun]) -> list[str]:
        """A table for each group of settings, of the runs that there are."""
        parts = [
            f"## {dataset}",
            "Numbers are those of the combined map A but where a branch is named.",
        ]
        for group, by_label in self.compared(dataset, runs):
            rows = [
                [label, *measure_cells(run.results, MEASURES.values())]
                for label, run in by_label.items()
            ]
            parts += [
                f"### {group.title} ({group.figure})",
                markdown_table([group.title, *MEASURES], rows, 1),
            ]
        return parts

    def panels(self, dataset: str, runs: Mapping[str, FinishedRun]) -> list[Panel]:
        """AU-sPRO at 0.05 over a setting's values where they are numbers, else bars."""
        return [
            make_panel(
                f"{group.title}, {dataset}",
                f"AU-sPRO up to {LIMIT}",
                by_label,
                auspro,
                form=VALUES if is_axis(list(by_label)) else BARS,
            )
            for group, by_label in self.compared(dataset, runs)
        ]

    def compared(
        self, dataset: str, runs: Mapping[str, FinishedRun]
    ) -> list[tuple[AblationGroup, dict[str, FinishedRun]]]:
        """The groups with their results by label, where there are two or more."""
        groups = []
        for group in self.ablation_groups(dataset):
            by_label = {
                setting.label: runs[setting.run].with_branch(setting.branch)
                for setting in group.settings
                if setting.run in runs
            }
            if len(by_label) > 1:  # one value alone compares nothing
                groups.append((group, by_label))
        return groups

    def changes(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """The fields that each run changes; of `BASE` none, and it is first.

        Raises:
          UserError: a field outside its range.
        """
        fields.validate_fields(self, "config.")
        settings = [s for group in self.ablation_groups(name) for s in group.settings]
        return {BASE: {}} | {s.run: s.changes for s in settings if s.run != BASE}

    def ablation_groups(self, name: str) -> tuple[AblationGroup, ...]:
        """The settings that are compared on a data set."""
        base = self.groups()[name].gcad.method
        maps = (*base.branches, COMBINED)

        def vary(
            title: str, figure: str, field: str, values: Sequence[Any]
        ) -> AblationGroup:
            settings = []
            for value in values:
                words = [
                    str(v) for v in (value if isinstance(value, tuple) else [value])
                ]
                run, changes = "_".join([field, *words]), {field: value}
                if getattr(base, field) == value:
                    run, changes = BASE, {}
                settings.append(AblationSetting(" + ".join(words), run, changes))
            return AblationGroup(title, figure, tuple(settings))

        return (
            vary("Global context dimension g", "Fig. 12", "g", self.g),
            vary("Receptive field p", "Fig. 12", "P", self.P),
            AblationGroup(
                "Model branch",
                "Fig. 12",
                tuple(AblationSetting(branch, BASE, branch=branch) for branch in maps),
            ),
            vary("A_glo from", "Fig. 12", "A_glo_from", (REGRESSION, RECONSTRUCTION)),
            vary("Descriptor dimension d_glo", "Fig. 14", "d_glo", self.d_glo),
            vary("Distilled into E_glo", "Fig. 14", "distilled", (FEATURES, IMAGE)),
        )


def ablation_study(given: str) -> Study:
    """One setting of GCAD changed at a time; given: as in `study_of_methods`.

    Of the preset "small" the networks are narrow, but all of the paper's.
    """
    return study_of_methods(Ablations, given, {"gcad": GCAD}, narrow)
