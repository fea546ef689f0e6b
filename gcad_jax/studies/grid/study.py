"""Settings of the studies that are made of runs: what runs, and on what.

A study is a grid of data sets and runs. Each is a field, so that every one can be set:
circles.data.num_train=50, circles.gcad.method.epochs=10.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from gcad_jax.config.experiment import Experiment, RunOptions
from gcad_jax.config.validation import OVERRIDING
from gcad_jax.core import fields
from gcad_jax.core.checks import nearest
from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import DataSet
from gcad_jax.methods.base import Method
from gcad_jax.reporting.plots.panels import BARS, Panel
from gcad_jax.studies.grid.results import FinishedRun, Lines, measure_panels


@dataclasses.dataclass(eq=False, kw_only=True)
class Cell:
    """One run on one data set."""

    method: Method = fields.field(fields.REQUIRED)
    """With its hyper-parameters [ours]."""
    cache_features: bool = fields.field(False)
    """As in an experiment [ours]."""


def make_group(data: DataSet, cells: Mapping[str, Cell]) -> Any:
    """A data set and the runs on it, as a dataclass with a field for each.

    cells: by names that can stand in a flag ("gcad", "g_64").
    """
    fields: list[tuple[str, Any]] = [("data", type(data))]
    fields += [(name, Cell) for name in cells]
    group_class = dataclasses.make_dataclass("Group", fields, eq=False, kw_only=True)
    return group_class(data=data, **cells)


@dataclasses.dataclass(eq=False, kw_only=True)
class Study(RunOptions, abc.ABC):
    """Many runs that answer one question; seeds and devices are those of each run.

    Beside these a study has a field for each data set, made by `make_study`.
    """

    # The name of what it writes, and what its report begins with; `reading` says how
    # to read the tables of all data sets.
    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    reading: ClassVar[str] = ""
    panel_form: ClassVar[str] = BARS

    runs: tuple[str, ...] = fields.field(())
    """Names of those to run; () takes all [ours]."""
    image_size: int | tuple[int, int] | None = fields.field(None, fields.SIDES)
    """Of every run; its method's own where it is None (pixels) [the method's]."""
    epochs: int | None = fields.field(None, fields.POSITIVE)
    """The same (epochs) [the method's]."""
    batch_size: int | None = fields.field(None, fields.BATCH)
    """The same (images) [the method's]."""
    write_maps: bool = fields.field(False)
    """Also write the maps of every run as TIFF files [ours]."""
    write_detectors: bool = fields.field(False)
    """Also write the detector of every run, which takes disk [ours]."""
    figure_images: int = fields.field(3, fields.NOT_NEGATIVE)
    """How many of each kind in the figure of a run (images) [ours]."""
    estimate: bool = fields.field(True)
    """Time the first updates of every run before any starts, and say how long all will
    take [ours]."""
    plan: bool = fields.field(False)
    """Say what would run and how long it would take, and stop [ours]."""

    def groups(self) -> dict[str, Any]:
        """The data sets by name, each as `make_group` makes it."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if hasattr(value, "data")}

    def all_experiments(self, name: str) -> dict[str, Experiment]:
        """Every run on a data set by name, in the order of the study."""
        group = self.groups()[name]
        of_experiment = {field.name for field in dataclasses.fields(Experiment)}
        shared = {field.name for field in dataclasses.fields(Study)} & of_experiment
        experiments = {}
        for run, changes in self.changes(name).items():
            cell = getattr(group, self.cell(run))
            method = dataclasses.replace(cell.method, **changes)
            of_method = {field.name for field in dataclasses.fields(method)}
            values: dict[str, Any] = {field: getattr(self, field) for field in shared}
            # Where nothing is trained, there are no epochs.
            values |= {size: None for size in OVERRIDING if size not in of_method}
            values |= {"method": method, "cache_features": cell.cache_features}
            experiments[run] = Experiment(data=group.data, **values)
        return experiments

    def changes(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """Every run on a data set, and the fields of its cell's method it changes."""
        cells = dataclasses.fields(self.groups()[name])
        return {field.name: {} for field in cells if field.name != "data"}

    def experiments(self, name: str) -> dict[str, Experiment]:
        """Those of them that `runs` names.

        Raises:
          UserError: `runs` names one that there is not, or one twice.
        """
        experiments = self.all_experiments(name)
        for run in self.runs:
            if run not in experiments:
                raise UserError(
                    f"config.runs names {run!r}; there are {', '.join(experiments)}."
                    + nearest(str(run), experiments)
                )
        if len(set(self.runs)) < len(self.runs):
            raise UserError(f"config.runs is {self.runs}; name each run once.")
        return {
            run: experiment
            for run, experiment in experiments.items()
            if run in self.runs or not self.runs
        }

    def cell(self, run: str) -> str:
        """The field of the group that a run is made from."""
        return run

    def labels(self, name: str) -> dict[str, str]:
        """What each run on a data set is called in tables and figures.

        Figures tell runs apart by it: a label that another run has already is followed
        by the name of the run.
        """
        labels: dict[str, str] = {}
        for run, config in self.all_experiments(name).items():
            label = self.label(run, config)
            taken = label in labels.values()
            labels[run] = f"{label}, {run}" if taken else label
        return labels

    def label(self, run: str, config: Experiment) -> str:
        """What a run is called where no other has the label: see `labels`."""
        del run
        return config.method.title

    def explains(self, run: str) -> bool:
        """Whether the report lists the settings of a run."""
        del run
        return True

    @abc.abstractmethod
    def sections(self, dataset: str, runs: Mapping[str, FinishedRun]) -> list[str]:
        """What the report says of one data set: Markdown."""

    def panels(self, dataset: str, runs: Mapping[str, FinishedRun]) -> list[Panel]:
        """The panels of the figure that are of one data set."""
        return measure_panels(dataset, runs, self.panel_form)

    def curves(self, runs: Mapping[str, FinishedRun]) -> Lines:
        """The sPRO curves that the report compares: by kind, then by run; {}: none."""
        del runs
        return {}


def make_study(kind: type[Study], groups: Mapping[str, Any], **fields: Any) -> Any:
    """A study of a kind, with a field for each data set."""
    group_fields = [(name, type(group)) for name, group in groups.items()]
    # A class of its own, as flags need a field for each; it has the kind's name.
    study_class = dataclasses.make_dataclass(
        kind.__name__, group_fields, bases=(kind,), eq=False, kw_only=True
    )
    return study_class(**groups, **fields)
