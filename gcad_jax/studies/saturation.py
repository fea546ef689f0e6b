"""How much AU-sPRO and the ranking of methods depend on the saturation thresholds.

The paper evaluates each method ten times with other thresholds and finds the ranking
stable [P 5.4]. Here each set of maps is passed over once; after that a draw is a
look-up, so there are thousands.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gcad_jax.checks import UserError, one_of, positive
from gcad_jax.evaluation import ground_truth, map_files
from gcad_jax.evaluation.ranking import AUTO, BINNED, EXACT, Precision, rank
from gcad_jax.evaluation.regions import GroundTruth
from gcad_jax.evaluation.scores import ANOMALOUS, LIMITS
from gcad_jax.files import check_writable, write_text, written
from gcad_jax.studies import saturation_report
from gcad_jax.studies.lookup import auspro
from gcad_jax.studies.map_sets import MapSet, map_sets
from gcad_jax.studies.saturation_report import DRAWS, JSON, OUTPUTS
from gcad_jax.studies.thresholds import Drawn, draw, varies

Say: TypeAlias = Callable[[str], None]
say_now: Say = functools.partial(print, flush=True)


@dataclasses.dataclass(eq=False)
class SaturationStudy:
    """Compare sets of anomaly maps at many draws of the saturation thresholds.

    dataset_base_dir: the data set, in MVTec LOCO AD's layout.
    object_names: its categories; () takes all of them.
    maps: folders of anomaly maps in the official layout, one for each method.
    workdirs: runs of this program with write_maps, one set of maps for each seed.
    names: of the methods, first those of maps; () takes the names of the folders.
    num_draws: draws of all thresholds of a category.
    seed: of the draws, which are the same for every method.
    low, high: between which a threshold is drawn, uniformly; 1 is the original.
    mode, tolerance: of the pass, as in `evaluation.ranking.Precision`.
    """

    dataset_base_dir: str = ""
    object_names: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    workdirs: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    num_draws: int = 10_000
    seed: int = 0
    low: float = 0.5
    high: float = 1.5
    mode: str = AUTO
    tolerance: float = 1e-5


@dataclasses.dataclass(frozen=True)
class Drawings:
    """One category after its passes.

    values: (methods, kinds, limits, 1 + draws) AU-sPRO of structural and logical
        images, the original first; NaN for a kind without regions or negatives.
    facts: what JSON says beside: "thresholds" by type, "varying" and "regions" (how
        many), "exact" and "bound" by method.
    """

    values: np.ndarray
    facts: Mapping[str, Any]


def run(config: SaturationStudy, path: str, say: Say = say_now) -> dict[str, Any]:
    """Writes `OUTPUTS` into the folder `path`, and each category into its own in it.

    A category that is finished there, with these settings and files, is kept.

    Returns what saturation.json holds.

    Raises:
      UserError: a field, ground truth, maps or folder that do not fit.
    """
    check(config)
    folder = pathlib.Path(path).expanduser()
    check_writable(folder, OUTPUTS, "--workdir")
    try:
        return _run(config, folder, say)
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}.") from error


def _run(config: SaturationStudy, folder: pathlib.Path, say: Say) -> dict[str, Any]:
    names = categories(config)
    sets = {
        name: map_sets(name, config.maps, config.workdirs, config.names)
        for name in names
    }
    methods = tuple(s.name for s in sets[names[0]])
    for name, own in sets.items():
        if (others := tuple(s.name for s in own)) != methods:
            raise UserError(
                f"{name} has maps by {', '.join(others)}, but {names[0]} by "
                f"{', '.join(methods)}; every category needs the same methods and "
                "seeds."
            )
    say(
        f"study       {saturation_report.count(len(names), 'category', 'categories')} "
        f"x {saturation_report.count(len(methods), 'method', 'methods')}, "
        f"{config.num_draws} draws of the saturation thresholds"
    )
    found = {name: _category(config, name, sets[name], folder, say) for name in names}
    result = saturation_report.result(
        methods,
        {name: (one.values, one.facts) for name, one in found.items()},
        dataclasses.asdict(config),
    )
    drawn = {name: one.values for name, one in found.items()}
    saturation_report.write(folder, result, drawn)
    say(f"report      {folder / saturation_report.MARKDOWN}")
    return result


def check(config: SaturationStudy) -> None:
    """Raises UserError for a field outside its range."""
    if not config.dataset_base_dir:
        raise UserError(
            "config.dataset_base_dir is empty; point --config.dataset_base_dir=DIR at "
            "the data set that the maps belong to."
        )
    for field in ("object_names", "maps", "workdirs", "names"):
        values = getattr(config, field)
        if not all(isinstance(v, str) and v for v in values):
            raise UserError(
                f"config.{field} is {values}; it must be names in quotes, as in "
                f"--config.{field}=\"('A','B')\"."
            )
    for name in config.object_names:
        if config.object_names.count(name) > 1 or pathlib.Path(name).name != name:
            raise UserError(
                f"config.object_names is {config.object_names}; it must name folders "
                "of config.dataset_base_dir, each once."
            )
    positive("config.num_draws", config.num_draws)
    positive("config.low", config.low)
    positive("config.tolerance", config.tolerance)
    one_of("config.mode", config.mode, (AUTO, EXACT, BINNED))
    if not config.low <= config.high < np.inf:
        raise UserError(
            f"config.high is {config.high} and config.low {config.low}; high must be "
            "a finite number that is not below low."
        )
    if config.seed < 0:
        raise UserError(f"config.seed is {config.seed}; it must be 0 or more.")


def categories(config: SaturationStudy) -> tuple[str, ...]:
    """The named ones, or all folders of the data set; raises UserError for none."""
    if config.object_names:
        return tuple(config.object_names)
    root = pathlib.Path(config.dataset_base_dir).expanduser()
    names = tuple(map_files.subfolders(root)) if root.is_dir() else ()
    if not names:
        raise UserError(
            f"config.dataset_base_dir is {root}, which holds no folder; point it at "
            "the folder above those of the categories."
        )
    return names


def _category(
    config: SaturationStudy,
    name: str,
    sets: Sequence[MapSet],
    folder: pathlib.Path,
    say: Say,
) -> Drawings:
    """What is kept in `folder`/`name`, or the passes and draws anew."""
    data = ground_truth.find_category(config.dataset_base_dir, name)
    maps = [map_files.listed(s.folder / name / "test") for s in sets]
    settings = _settings(config, sets) | {"files": _digest(data, maps)}
    if kept := _read(folder / name, settings):
        say(f"{name}: its draws are kept from earlier")
        return kept
    truth = _truth(data, maps[0])
    drawn = draw(truth, name, config.num_draws, config.seed, config.low, config.high)
    values, exact, bounds, seconds = [], {}, {}, 0.0
    for number, (one, found) in enumerate(zip(sets, maps, strict=True), start=1):
        say(f"{name}: {one.name} ({number} of {len(sets)})")
        paths = map_files.of_images(found, truth.images, one.folder / name / "test")
        source = map_files.source(paths, truth.images)
        ranking = rank(truth, source, Precision(config.mode, config.tolerance))
        started = time.perf_counter()
        of_kinds, bounds[one.name] = by_kind(
            ranking.kinds, truth, drawn, config.num_draws
        )
        seconds += time.perf_counter() - started
        values.append(of_kinds)
        exact[one.name] = ranking.exact
    say(f"{name}: after the passes over the maps all draws took {seconds:.2f} s")
    facts = {
        "thresholds": {t: {"pixels": d.original} for t, d in drawn.items()},
        "varying": int(varies(truth).sum()),
        "regions": len(truth.regions),
        "exact": exact,
        "bound": bounds,
    }
    drawings = Drawings(np.stack(values), facts)
    _write(folder / name, settings, drawings, drawn)
    return drawings


def by_kind(
    kinds: Mapping[str, Any], truth: GroundTruth, drawn: Mapping[str, Drawn], draws: int
) -> tuple[np.ndarray, float]:  # (kinds, limits, 1 + draws)
    """AU-sPRO of structural and logical images at every threshold, and their bound.

    kinds: of a `Ranking`. A kind that has no AU-sPRO is NaN.
    """
    values = np.full((len(ANOMALOUS), len(LIMITS), 1 + draws), np.nan)
    largest = 0.0
    for k, kind in enumerate(ANOMALOUS):
        found = auspro(kinds[kind], truth, drawn) if kind in kinds else None
        if found is not None:
            values[k], bound = found
            largest = max(largest, bound)
    return values, largest


def _truth(data: pathlib.Path, maps: Mapping[str, pathlib.Path]) -> GroundTruth:
    _, anomalous = ground_truth.anomalous_images(data)
    return GroundTruth.build((*ground_truth.good_images(data, maps), *anomalous))


def _settings(config: SaturationStudy, sets: Sequence[MapSet]) -> dict[str, Any]:
    """What the draws of a category depend on, beside the contents of files."""
    fields = dataclasses.asdict(config)
    for name in ("object_names", "maps", "workdirs", "names"):
        del fields[name]
    return fields | {"methods": {s.name: str(s.folder.absolute()) for s in sets}}


def _digest(data: pathlib.Path, maps: Sequence[Mapping[str, pathlib.Path]]) -> str:
    """Of names, sizes and times of ground truth and maps: reading all takes longer."""
    truth = [p for p in (data / "ground_truth").rglob("*") if p.is_file()]
    good = list((data / "test" / "good").glob("*"))
    config = [p for p in (data / ground_truth.CONFIG,) if p.exists()]
    digest = hashlib.sha256()
    for paths in (truth, good, config, *(m.values() for m in maps)):
        for path in sorted(paths):
            if path.exists():
                stat = path.stat()
                line = f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns}\n"
                digest.update(line.encode())
    return digest.hexdigest()


def _write(
    folder: pathlib.Path,
    settings: Mapping[str, Any],
    drawings: Drawings,
    drawn: Mapping[str, Drawn],
) -> None:
    """The draws, and last the file that makes them valid."""
    (folder / JSON).unlink(missing_ok=True)
    with written(folder / DRAWS) as part, part.open("wb") as file:
        arrays: dict[str, Any] = {f"threshold/{t}": d.all for t, d in drawn.items()}
        np.savez(file, auspro=drawings.values, **arrays)
    shown = {"settings": settings, **drawings.facts}
    write_text(folder / JSON, json.dumps(shown, indent=2) + "\n")


def _read(folder: pathlib.Path, settings: Mapping[str, Any]) -> Drawings | None:
    """What `_write` wrote with these settings; None where there is no such thing."""
    try:
        facts = json.loads((folder / JSON).read_text())
        if facts.pop("settings") != settings:
            return None
        with (folder / DRAWS).open("rb") as file:
            return Drawings(np.load(file)["auspro"], facts)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    except (EOFError, zipfile.BadZipFile):
        return None
