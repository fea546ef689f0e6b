"""How much AU-sPRO and the ranking of methods depend on the saturation thresholds.

The paper evaluates each method ten times with other thresholds and finds the ranking
stable [P 5.4]. Here each set of maps is passed over once; after that a draw is a
look-up, so there are thousands.
"""

import contextlib
import dataclasses
import json
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import atomic_file, check_writable, write_text
from gcad_jax.core.console import pluralize, print_line
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, make_absolute, open_file
from gcad_jax.evaluation import map_files
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.ranks.rank import Precision, rank
from gcad_jax.evaluation.results import ANOMALOUS, LIMITS
from gcad_jax.runs.plan import Plan
from gcad_jax.studies.saturation.config import SaturationStudy, check_config
from gcad_jax.studies.saturation.inputs import CategoryInputs, open_inputs
from gcad_jax.studies.saturation.report import (
    JSON,
    MARKDOWN,
    NOTHING_VARIES,
    OUTPUTS,
    write_report,
)
from gcad_jax.studies.saturation.sampling import SampledThresholds, sample_thresholds
from gcad_jax.studies.saturation.spro_at_thresholds import auspro_at_thresholds
from gcad_jax.studies.saturation.statistics import ThresholdStudy, summarize_study

DRAWS = "draws.npz"  # in the folder of a category, beside its JSON


def run(config: SaturationStudy, path: str) -> dict[str, Any]:
    """Writes `OUTPUTS` into the folder `path`, and each category into its own in it.

    A category that is finished there, with these settings and files, is kept.

    Returns what saturation.json holds.

    Raises:
      UserError: a field, ground truth, maps, run or folder that do not fit.
    """
    with _open_study(config, path) as (categories, folder):
        studies = {
            inputs.name: _study_category(config, inputs, folder / inputs.name)
            for inputs in categories
        }
        methods = tuple(categories[0].roots)
        summary = summarize_study(methods, studies, dataclasses.asdict(config))
        auspro = {name: study.auspro for name, study in studies.items()}
        write_report(folder, summary, auspro)
        print_line(f"report      {folder / MARKDOWN}", result=True)
        return summary


def plan(config: SaturationStudy, path: str) -> Plan:
    """What `run` would do; prints each category. Nothing is written.

    Raises:
      UserError: as `run`, where it shows before the maps are read.
    """
    with _open_study(config, path) as (categories, folder):
        for inputs in categories:
            maps = sum(map(len, inputs.maps.values()))
            work = f"{maps:,} maps of {pluralize(len(inputs.maps), 'method')}"
            if _read_study(folder / inputs.name, _settings(config, inputs)):
                work = "its draws are kept"
            print_line(f"{inputs.name}: {work}")
        return Plan(
            estimate=("none: every map is read once, and then drawing takes seconds",),
            writes=(f"in {folder}: {', '.join(OUTPUTS)}, a folder a category",),
        )


@contextlib.contextmanager
def _open_study(
    config: SaturationStudy, path: str
) -> Iterator[tuple[Sequence[CategoryInputs], epath.Path]]:
    """What there is to do, which is printed, and the folder for it."""
    check_config(config)
    folder = as_path(path).expanduser()
    check_writable(folder, OUTPUTS, "workdir")
    try:
        with open_inputs(config) as categories:
            print_line(
                f"study       {pluralize(len(categories), 'category', 'categories')} "
                f"x {pluralize(len(categories[0].roots), 'method')}, "
                f"{config.num_draws} draws of the saturation thresholds"
            )
            yield categories, folder
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}.") from error


def _settings(config: SaturationStudy, inputs: CategoryInputs) -> dict[str, Any]:
    """What the draws of a category depend on: where they are equal, they are kept."""
    fields = dataclasses.asdict(config)
    for name in ("object_names", "maps", "workdirs", "names"):
        del fields[name]
    folders = {
        method: str(make_absolute(root)) for method, root in inputs.roots.items()
    }
    return {**fields, "methods": folders, **inputs.digests}


def _study_category(
    config: SaturationStudy, inputs: CategoryInputs, folder: epath.Path
) -> ThresholdStudy:
    """What is kept in `folder`, or the passes and draws anew, which are written there.

    Raises:
      UserError: no annotated region, or maps that do not fit the images.
    """
    settings = _settings(config, inputs)
    if study := _read_study(folder, settings):
        print_line(f"{inputs.name}: its draws are kept from earlier")
        return study
    maps = next(iter(inputs.maps.values()))
    ground_truth = GroundTruth.build(inputs.ground_truth.load(inputs.name, maps))
    if not ground_truth.regions:
        raise UserError(
            f"{inputs.name} has no test image with a mask, so there is no AU-sPRO; "
            "leave it out by object_names=\"('NAME',)\".",
            "object_names",
        )
    sampled = sample_thresholds(config, ground_truth, inputs.name)
    if not sampled:
        print_line(f"{inputs.name}: {NOTHING_VARIES}")
    study = _evaluate_methods(config, inputs, ground_truth, sampled)
    # Last the file that makes the draws valid.
    (folder / JSON).unlink(missing_ok=True)
    with atomic_file(folder / DRAWS) as part, part.open("wb") as file:
        arrays: dict[str, Any] = {f"threshold/{t}": s.all for t, s in sampled.items()}
        np.savez(file, auspro=study.auspro, **arrays)
    contents = {"settings": settings, **study.facts}
    write_text(folder / JSON, json.dumps(contents, indent=2) + "\n")
    return study


def _evaluate_methods(
    config: SaturationStudy,
    inputs: CategoryInputs,
    ground_truth: GroundTruth,
    sampled: Mapping[str, SampledThresholds],
) -> ThresholdStudy:
    """One pass over the maps of each method, then all its draws."""
    methods, draws, seconds = list(inputs.maps), config.num_draws, 0.0
    auspro = np.full((len(methods), len(ANOMALOUS), len(LIMITS), 1 + draws), np.nan)
    exact, bounds = dict.fromkeys(methods, False), dict.fromkeys(methods, 0.0)
    for m, (method, maps) in enumerate(inputs.maps.items()):
        print_line(f"{inputs.name}: {method} ({m + 1} of {len(methods)})")
        folder = inputs.roots[method] / inputs.name / "test"
        paths = map_files.maps_of_images(maps, ground_truth.images, folder)
        source = map_files.map_file_source(paths, ground_truth.images)
        ranking = rank(ground_truth, source, Precision(config.mode, config.tolerance))
        exact[method] = ranking.exact
        # Only the draws are timed: what thousands of them cost beside one pass.
        started = time.perf_counter()
        for k, kind in enumerate(ANOMALOUS):
            ranks = ranking.kinds.get(kind)
            scores = ranks and auspro_at_thresholds(ranks, ground_truth, sampled)
            if scores:
                auspro[m, k], bound = scores
                bounds[method] = max(bounds[method], bound)
        seconds += time.perf_counter() - started
    print_line(
        f"{inputs.name}: after the passes over the maps all draws took {seconds:.2f} s"
    )
    units = {False: "pixels", True: "share_of_area"}
    facts = {
        "thresholds": {
            name: {units[s.relative]: s.original, "regions": s.regions}
            for name, s in sampled.items()
        },
        "varying": sum(s.regions for s in sampled.values()),
        "regions": len(ground_truth.regions),
        "exact": exact,
        "bound": bounds,
    }
    return ThresholdStudy(auspro, facts)


def _read_study(
    folder: epath.Path, settings: Mapping[str, Any]
) -> ThresholdStudy | None:
    """What was written with these settings; None where there is no such thing."""
    try:
        facts = json.loads((folder / JSON).read_text())
        if facts.pop("settings") != settings:
            return None
        with open_file(folder / DRAWS) as file:
            return ThresholdStudy(np.load(file)["auspro"], facts)
    except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError):
        return None  # not there, or no file of ours
    except zipfile.BadZipFile:
        return None  # damaged
