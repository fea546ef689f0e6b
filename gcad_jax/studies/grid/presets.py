"""The studies that are made of runs, as their config files take them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gcad_jax.config import Experiment, presets
from gcad_jax.config.presets import PAPER, SMALL
from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import COMBINED
from gcad_jax.data.dataset import DataSet
from gcad_jax.methods.autoencoder import AE
from gcad_jax.methods.base import Method
from gcad_jax.methods.fanogan import FAnoGAN
from gcad_jax.methods.gcad.method import (
    FEATURES,
    GCAD,
    IMAGE,
    RECONSTRUCTION,
    REGRESSION,
)
from gcad_jax.methods.mnad import MNAD
from gcad_jax.methods.spade import SPADE
from gcad_jax.methods.student_teacher import StudentTeacher
from gcad_jax.methods.vae import VAE
from gcad_jax.methods.variation_model import VariationModel
from gcad_jax.reporting.plots.panel import POINTS, Panel
from gcad_jax.studies.grid import ablations as ablation_tables
from gcad_jax.studies.grid import benchmark as benchmark_tables
from gcad_jax.studies.grid import precision as precision_tables
from gcad_jax.studies.grid import seeds as seed_tables
from gcad_jax.studies.grid.ablations import AblationGroup, AblationSetting
from gcad_jax.studies.grid.figure import of_measures
from gcad_jax.studies.grid.precision import BFLOAT16, FLOAT32
from gcad_jax.studies.grid.results import Finished, Lines, method_curves
from gcad_jax.studies.grid.study import Cell, Study, group, with_groups

# In the order of the paper's tables.
METHODS: Mapping[str, type[Method]] = {
    "variation_model": VariationModel,
    "fanogan": FAnoGAN,
    "mnad": MNAD,
    "autoencoder": AE,
    "vae": VAE,
    "spade": SPADE,
    "student_teacher": StudentTeacher,
    "gcad": GCAD,
}
PRECISE = {name: kind for name, kind in METHODS.items() if hasattr(kind, "precision")}
BASE = "base"  # the run that the others change
TOY = ("student_teacher", "vae", "gcad")


class Benchmark(Study):
    """All methods on some data sets: Tables 3, 5 to 9."""

    name = "benchmark"
    title = "Benchmark of the methods"

    def sections(self, dataset: str, runs: Mapping[str, Finished]) -> list[str]:
        """The tables of the paper."""
        return benchmark_tables.sections(dataset, runs)

    def curves(self, runs: Mapping[str, Finished]) -> Lines:
        """Those of the methods."""
        return method_curves(runs)


class Toy(Benchmark):
    """Student-Teacher, VAE and GCAD on the circles: Fig. 1."""

    name = "toy"
    title = "The toy circles"


class Seeds(Study):
    """Many seeds of a method: how far do its numbers and rankings move?"""

    name = "seeds"
    title = "Seeds"

    def sections(self, dataset: str, runs: Mapping[str, Finished]) -> list[str]:
        """Every seed, and the stability of rankings."""
        return seed_tables.sections(dataset, runs)

    def panels(self, dataset: str, runs: Mapping[str, Finished]) -> list[Panel]:
        """Every seed as a point."""
        return of_measures(dataset, runs, POINTS)


@dataclasses.dataclass(eq=False, kw_only=True)
class Ablations(Study):
    """GCAD with one setting changed at a time: Fig. 12 and 14.

    The group of a data set has one field, gcad; every run is that with one field
    changed, so that flags reach all of them at once.

    g: its values (features) [P Fig. 12; the values are ours].
    P: its values, a tuple each (pixels) [P Fig. 12; the values are ours].
    d_glo: its values (features) [P Fig. 14; the values are ours].
    """

    g: tuple[int, ...] = (2, 8, 32, 64, 128)
    P: tuple[tuple[int, ...], ...] = ((17,), (33,), (65,), (17, 33), (17, 33, 65))
    d_glo: tuple[int, ...] = (2, 5, 10, 20, 40)

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

    def sections(self, dataset: str, runs: Mapping[str, Finished]) -> list[str]:
        """A table for each question."""
        return ablation_tables.sections(dataset, runs, self.questions(dataset))

    def panels(self, dataset: str, runs: Mapping[str, Finished]) -> list[Panel]:
        """A panel for each question."""
        return ablation_tables.panels(dataset, runs, self.questions(dataset))

    def check_values(self) -> None:
        """Raises UserError for values of another type."""
        for field in ("g", "d_glo"):
            values = getattr(self, field)
            if any(type(value) is not int for value in values):
                raise UserError(
                    f"config.{field} is {values}; its values are whole numbers, as in "
                    f'--config.{field}="(8,32)".'
                )
        if not all(isinstance(P, tuple) and P for P in self.P):
            raise UserError(
                f"config.P is {self.P}; it is a tuple of tuples, one a run, as in "
                '--config.P="((17,),(17,33))".'
            )

    def changes(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """The fields that each run changes; of `BASE` none, and it is first.

        Raises:
          UserError: a value that is no whole number, or in P no tuple of them.
        """
        self.check_values()
        asked = [s for question in self.questions(name) for s in question.settings]
        return {BASE: {}} | {s.run: s.changes for s in asked if s.run != BASE}

    def questions(self, name: str) -> tuple[AblationGroup, ...]:
        """What is asked of the runs on a data set."""
        base = self.groups()[name].gcad.method
        maps = (*base.branches, COMBINED)

        def vary(
            title: str, figure: str, field: str, values: Sequence[Any]
        ) -> AblationGroup:
            settings = tuple(_setting(base, field, value) for value in values)
            return AblationGroup(title, figure, settings)

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


def _setting(base: GCAD, field: str, value: Any) -> AblationSetting:
    several = isinstance(value, tuple)
    label = " + ".join(map(str, value)) if several else str(value)
    if getattr(base, field) == value:
        return AblationSetting(label, BASE)
    words = "_".join(map(str, value)) if several else value
    return AblationSetting(label, f"{field}_{words}", {field: value})


@dataclasses.dataclass(eq=False, kw_only=True)
class Precisions(Study):
    """A method in float32 and in bfloat16: does the faster one cost accuracy?

    method: a name of `PRECISE`; both runs are its cell with `precision` changed, so
        that flags reach both at once [ours].
    """

    method: str = "gcad"

    name = "precision"
    title = "Precision: bfloat16 against float32"
    reading = precision_tables.READING

    def label(self, run: str, config: Experiment) -> str:
        """The method and its precision."""
        return f"{config.method.title}, {run}"

    def cell(self, run: str) -> str:
        """That of the method."""
        del run
        return self.method

    def changes(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """The precision alone.

        Raises:
          UserError: `method` names none that has a precision.
        """
        del name
        one_of("config.method", self.method, PRECISE)
        return {run: {"precision": run} for run in (FLOAT32, BFLOAT16)}

    def sections(self, dataset: str, runs: Mapping[str, Finished]) -> list[str]:
        """Whether the differences lie within the spread of the seeds."""
        return precision_tables.sections(dataset, runs)


def benchmark(given: str) -> Study:
    """All eight methods; given: as in `presets.parse_preset`."""
    preset, sets = presets.parse_preset(given, (PAPER, SMALL))
    return _of_methods(Benchmark, preset, sets)


def toy(given: str) -> Study:
    """Three methods on the circles.

    given: "" or "small".

    Raises:
      UserError: another word.
    """
    one_of(presets.BEHIND, given, (PAPER, SMALL))
    sets = {"circles": presets.data_set("circles", given)}
    return _of_methods(Toy, given, sets, runs=TOY, write_maps=True)


def seeds(given: str) -> Study:
    """Eight seeds of GCAD, or of the methods that `runs` names."""
    preset, sets = presets.parse_preset(given, (PAPER, SMALL))
    return _of_methods(Seeds, preset, sets, runs=("gcad",), seeds=tuple(range(8)))


def ablations(given: str) -> Study:
    """One setting of GCAD changed at a time; given: as in `presets.parse_preset`."""
    preset, sets = presets.parse_preset(given, (PAPER, SMALL))
    return _of_methods(Ablations, preset, sets, {"gcad": GCAD})


def precision(given: str) -> Study:
    """Five seeds of one method in both precisions; `given` as in `parse_preset`."""
    preset, sets = presets.parse_preset(given, (PAPER, SMALL))
    return _of_methods(Precisions, preset, sets, PRECISE, seeds=tuple(range(5)))


def _of_methods(
    kind: type[Study],
    preset: str,
    sets: Mapping[str, DataSet],
    methods: Mapping[str, type[Method]] = METHODS,
    **fields: Any,
) -> Study:
    groups = {}
    for name, data in sets.items():
        cells = {}
        for run, method in methods.items():
            made, cached = presets.run_of(method, preset, data)
            cells[run] = Cell(method=made, cache_features=cached)
        groups[name] = group(data, cells)
    return with_groups(kind, groups, **fields)
