"""Sets of anomaly maps that are compared: folders of maps, and the seeds of runs."""

import dataclasses
import pathlib
from collections.abc import Sequence

from gcad_jax.checks import UserError
from gcad_jax.evaluation.maps import MAPS


@dataclasses.dataclass(frozen=True)
class MapSet:
    """One method, or one seed of it.

    name: unique among those compared.
    folder: with the maps of the category in CATEGORY/test/.
    """

    name: str
    folder: pathlib.Path


def map_sets(
    category: str, maps: Sequence[str], workdirs: Sequence[str], names: Sequence[str]
) -> tuple[MapSet, ...]:
    """The maps of one category, by every method and seed.

    maps: folders in the official layout.
    workdirs: of runs of this program, with one set of maps for each seed.
    names: of the methods, first those of `maps`; () takes the names of the folders.

    Raises:
      UserError: nothing to compare, another number of names, a name twice, or a run
        without maps.
    """
    given = (*maps, *workdirs)
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
    paths = [pathlib.Path(folder).expanduser() for folder in given]
    names = names or [path.absolute().name for path in paths]
    sets: list[MapSet] = []
    for number, (name, path) in enumerate(zip(names, paths, strict=True)):
        if number < len(maps):
            sets.append(MapSet(name, path))
        else:
            sets += _seeds(name, path, category)
    found = [entry.name for entry in sets]
    if twice := next((name for name in found if found.count(name) > 1), None):
        raise UserError(
            f"two methods are called {twice!r}; give each its own name by "
            "--config.names=\"('NAME','NAME')\"."
        )
    return tuple(sets)


def _seeds(name: str, workdir: pathlib.Path, category: str) -> list[MapSet]:
    if not workdir.is_dir():
        raise UserError(
            f"config.workdirs names {workdir}, which is not a folder; name the "
            "--workdir of a run."
        )
    folder = workdir / category / MAPS
    seeds = {
        path.name.removeprefix("seed_"): path
        for path in folder.glob("seed_*")
        if path.name.removeprefix("seed_").isdigit()
    }
    if not seeds:
        raise UserError(
            f"{folder} holds no anomaly maps; run the command of --workdir={workdir} "
            "once more with --config.write_maps=True, which evaluates again without "
            "training."
        )
    if len(seeds) == 1:
        return [MapSet(name, path) for path in seeds.values()]
    return [MapSet(f"{name} seed {s}", seeds[s]) for s in sorted(seeds, key=int)]
