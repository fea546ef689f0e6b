"""How much AU-sPRO and the ranking of methods depend on the saturation thresholds.

The paper evaluates each method ten times with other thresholds and finds the ranking
stable [P 5.4]. Here each set of maps is passed over once; after that a draw is a
look-up, so there are thousands.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from gcad_jax.core import console
from gcad_jax.core.atomic_files import check_writable
from gcad_jax.core.console import PrintLine
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, make_absolute
from gcad_jax.evaluation import map_folders
from gcad_jax.runs.data_digest import digest_files
from gcad_jax.studies.saturation import evaluate, finished_runs, report
from gcad_jax.studies.saturation.config import SaturationStudy, check
from gcad_jax.studies.saturation.evaluate import ThresholdStudy
from gcad_jax.studies.saturation.ground_truth import (
    GroundTruthSource,
    ground_truth_source,
)
from gcad_jax.studies.saturation.inputs import MapSet, map_sets
from gcad_jax.studies.saturation.report import OUTPUTS, count
from gcad_jax.studies.saturation.statistics import result

METHODS = ("method", "methods")


def run(
    config: SaturationStudy, path: str, say: PrintLine = console.print_line
) -> dict[str, Any]:
    """Writes `OUTPUTS` into the folder `path`, and each category into its own in it.

    A category that is finished there, with these settings and files, is kept.

    Returns what saturation.json holds.

    Raises:
      UserError: a field, ground truth, maps, run or folder that do not fit.
    """
    with _opened(config, path) as (work, folder):
        say(work.described(config))
        found = {
            name: _category(config, work, name, folder / name, say)
            for name in work.sets
        }
        shown = result(
            work.methods,
            {name: (one.values, one.facts) for name, one in found.items()},
            dataclasses.asdict(config),
        )
        drawn = {name: one.values for name, one in found.items()}
        report.write(folder, shown, drawn)
        say(f"report      {folder / report.MARKDOWN}", result=True)
        return shown


def plan(
    config: SaturationStudy, path: str, say: PrintLine = console.print_line
) -> None:
    """Says what `run` would do; nothing is written.

    Raises:
      UserError: as `run`, where it shows before the maps are read.
    """
    with _opened(config, path) as (work, folder):
        say(work.described(config))
        for name, sets in work.sets.items():
            settings, _, maps = _inputs(config, work, name)
            kept = evaluate.read(folder / name, settings)
            passed = f"{sum(map(len, maps)):,} maps of {count(len(sets), *METHODS)}"
            say(f"{name}: {'its draws are kept' if kept else passed}")
        say("estimate    none: every map is read once, and then drawing takes seconds")
        say(f"writes      in {folder}: {', '.join(OUTPUTS)}, a folder a category")


@dataclasses.dataclass(frozen=True)
class _Work:
    """Sets of maps by category, the methods they are of, and the ground truth."""

    truth: GroundTruthSource
    sets: Mapping[str, Sequence[MapSet]]
    methods: tuple[str, ...]
    digests: Mapping[str, str]

    def described(self, config: SaturationStudy) -> str:
        """How much there is to do."""
        return (
            f"study       {count(len(self.sets), 'category', 'categories')} "
            f"x {count(len(self.methods), *METHODS)}, "
            f"{config.num_draws} draws of the saturation thresholds"
        )


@contextlib.contextmanager
def _opened(config: SaturationStudy, path: str) -> Iterator[tuple[_Work, epath.Path]]:
    """What there is to do, and the folder; no run goes on while the block runs."""
    check(config)
    folder = as_path(path).expanduser()
    check_writable(folder, OUTPUTS, "workdir")
    try:
        with finished_runs.opened(config.workdirs) as runs:
            truth = ground_truth_source(config.dataset_base_dir, runs)
            names = config.object_names or truth.categories()
            sets = {
                name: map_sets(name, config.maps, runs, config.names) for name in names
            }
            methods = _same_methods(sets)
            digests = {name: truth.digest(name) for name in names}
            yield _Work(truth, sets, methods, digests), folder
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}.") from error


def _same_methods(sets: Mapping[str, Sequence[MapSet]]) -> tuple[str, ...]:
    """Names of the sets of every category; raises UserError where they differ."""
    (first, own), *others = (
        (name, tuple(s.name for s in of_name)) for name, of_name in sets.items()
    )
    for name, other in others:
        if other != own:
            raise UserError(
                f"{name} has maps by {', '.join(other)}, but {first} by "
                f"{', '.join(own)}; every category needs the same methods and seeds."
            )
    return own


def _inputs(
    config: SaturationStudy, work: _Work, name: str
) -> tuple[dict[str, Any], list[epath.Path], list[dict[str, epath.Path]]]:
    """What the draws of a category depend on, and folder and maps of each method."""
    sets = work.sets[name]
    folders = [one.folder / name / "test" for one in sets]
    maps = [map_folders.list_maps(path) for path in folders]
    files = digest_files(path for found in maps for path in found.values())
    own = {"truth": work.digests[name], "maps": files}
    return _settings(config, sets) | own, folders, maps


def _category(
    config: SaturationStudy, work: _Work, name: str, folder: epath.Path, say: PrintLine
) -> ThresholdStudy:
    """What is kept in `folder`, or the passes and draws anew."""
    settings, folders, maps = _inputs(config, work, name)
    if kept := evaluate.read(folder, settings):
        say(f"{name}: its draws are kept from earlier")
        return kept
    names = (one.name for one in work.sets[name])
    methods = tuple(zip(names, folders, maps, strict=True))
    images = work.truth.load(name, maps[0])
    found, drawn = evaluate.compute(config, name, images, methods, say)
    evaluate.write(folder, settings, found, drawn)
    return found


def _settings(config: SaturationStudy, sets: Sequence[MapSet]) -> dict[str, Any]:
    """What the draws of a category depend on, beside the contents of files."""
    fields = dataclasses.asdict(config)
    for name in ("object_names", "maps", "workdirs", "names"):
        del fields[name]
    return fields | {"methods": {s.name: str(make_absolute(s.folder)) for s in sets}}
