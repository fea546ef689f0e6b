"""Sets of anomaly maps that are compared: folders of maps, and the seeds of runs."""

import dataclasses
from collections.abc import Sequence

from etils import epath

from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, make_absolute
from gcad_jax.studies.saturation.finished_runs import Workdir


@dataclasses.dataclass(frozen=True)
class MapSet:
    """One method, or one seed of it.

    name: unique among those compared.
    folder: with the maps of the category in CATEGORY/test/.
    """

    name: str
    folder: epath.Path


def map_sets(
    category: str, maps: Sequence[str], runs: Sequence[Workdir], names: Sequence[str]
) -> tuple[MapSet, ...]:
    """The maps of one category, by every method and seed.

    maps: folders in the official layout.
    runs: of this program, with one set of maps for each seed.
    names: of the methods, first those of `maps`; () takes the names of the folders.

    Raises:
      UserError: nothing to compare, another number of names, a name twice, or a run
        without maps.
    """
    paths = [as_path(folder).expanduser() for folder in maps]
    given = (*paths, *(run.path for run in runs))
    if not given:
        raise UserError(
            "config.maps and config.workdirs are both empty; name the maps of at least "
            "one method, as in --config.maps=\"('MAPS_A','MAPS_B')\"."
        )
    if names and len(names) != len(given):
        raise UserError(
            f"config.names has {len(names)} names for {len(given)} methods; give one "
            "for each of config.maps, then for each of config.workdirs, or none."
        )
    names = names or [make_absolute(path).name for path in given]
    sets = [MapSet(*pair) for pair in zip(names, paths, strict=False)]
    for name, run in zip(names[len(paths) :], runs, strict=True):
        sets += _seeds(name, run, category)
    found = [entry.name for entry in sets]
    if twice := next((name for name in found if found.count(name) > 1), None):
        raise UserError(
            f"two methods are called {twice!r}; give each its own name by "
            "--config.names=\"('NAME','NAME')\"."
        )
    return tuple(sets)


def _seeds(name: str, run: Workdir, category: str) -> list[MapSet]:
    folders = run.maps(category)
    if len(folders) == 1:
        return [MapSet(name, folder) for folder in folders.values()]
    return [MapSet(f"{name} seed {seed}", path) for seed, path in folders.items()]
