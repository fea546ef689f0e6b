"""AU-sPRO of every method at every draw, for one category: computed once, and kept."""

import dataclasses
import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import atomic_file, write_text
from gcad_jax.core.console import PrintLine
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import open_file
from gcad_jax.data.dataset import TestImage
from gcad_jax.evaluation import map_folders
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.ranks.rank import Precision, rank
from gcad_jax.evaluation.ranks.ranks import Ranks
from gcad_jax.evaluation.results import ANOMALOUS, LIMITS
from gcad_jax.studies.saturation.config import SaturationStudy
from gcad_jax.studies.saturation.sampling import SampledThresholds, sample_thresholds
from gcad_jax.studies.saturation.spro_at_thresholds import auspro

JSON, DRAWS = "saturation.json", "draws.npz"  # in the folder of a category
NOTHING_VARIES = (
    "No threshold varies: each is the area of its region, so every draw equals the "
    "original."
)
# Of one method: name, folder of its maps, maps by image name.
Maps: TypeAlias = tuple[str, epath.Path, Mapping[str, epath.Path]]


@dataclasses.dataclass(frozen=True)
class ThresholdStudy:
    """One category after its passes.

    values: (methods, kinds, limits, 1 + draws) AU-sPRO of structural and logical
        images, the original first; NaN for a kind without regions or negatives.
    facts: what JSON says beside: "thresholds" by type, "varying" and "regions" (how
        many), "exact" and "bound" by method.
    """

    values: np.ndarray
    facts: Mapping[str, Any]


def compute(
    config: SaturationStudy,
    category: str,
    images: Sequence[TestImage],
    methods: Sequence[Maps],
    say: PrintLine,
) -> tuple[ThresholdStudy, Mapping[str, SampledThresholds]]:
    """One pass over the maps of each method, then all draws; and the thresholds.

    Raises:
      UserError: no annotated region, or maps that do not fit the images.
    """
    truth = GroundTruth.build(images)
    if not truth.regions:
        raise UserError(
            f"{category} has no test image with a mask, so there is no AU-sPRO; leave "
            "it out by --config.object_names."
        )
    draws, span = config.num_draws, (config.low, config.high)
    drawn = sample_thresholds(
        truth, category, draws, config.seed, *span, config.vary_relative
    )
    if not drawn:
        say(f"{category}: {NOTHING_VARIES}")
    values, exact, bounds, seconds = [], {}, {}, 0.0
    for number, (name, folder, found) in enumerate(methods, start=1):
        say(f"{category}: {name} ({number} of {len(methods)})")
        paths = map_folders.maps_of_images(found, truth.images, folder)
        source = map_folders.map_file_source(paths, truth.images)
        ranking = rank(truth, source, Precision(config.mode, config.tolerance))
        exact[name] = ranking.exact
        started = time.perf_counter()
        of_kinds, bounds[name] = by_kind(ranking.kinds, truth, drawn, draws)
        seconds += time.perf_counter() - started
        values.append(of_kinds)
    say(f"{category}: after the passes over the maps all draws took {seconds:.2f} s")
    facts = _facts(truth, drawn) | {"exact": exact, "bound": bounds}
    return ThresholdStudy(np.stack(values), facts), drawn


def by_kind(
    kinds: Mapping[str, Ranks],
    truth: GroundTruth,
    drawn: Mapping[str, SampledThresholds],
    draws: int,
) -> tuple[np.ndarray, float]:  # (kinds, limits, 1 + draws)
    """AU-sPRO of structural and logical images at every threshold, and their bound.

    A kind that has no AU-sPRO is NaN.
    """
    values = np.full((len(ANOMALOUS), len(LIMITS), 1 + draws), np.nan)
    largest = 0.0
    for k, kind in enumerate(ANOMALOUS):
        found = auspro(kinds[kind], truth, drawn) if kind in kinds else None
        if found is not None:
            values[k], bound = found
            largest = max(largest, bound)
    return values, largest


def _facts(
    truth: GroundTruth, drawn: Mapping[str, SampledThresholds]
) -> dict[str, Any]:
    units = {False: "pixels", True: "share_of_area"}
    return {
        "thresholds": {
            name: {units[d.relative]: d.original, "regions": d.regions}
            for name, d in drawn.items()
        },
        "varying": sum(d.regions for d in drawn.values()),
        "regions": len(truth.regions),
    }


def write(
    folder: epath.Path,
    settings: Mapping[str, Any],
    drawings: ThresholdStudy,
    drawn: Mapping[str, SampledThresholds],
) -> None:
    """The draws, and last the file that makes them valid."""
    (folder / JSON).unlink(missing_ok=True)
    with atomic_file(folder / DRAWS) as part, part.open("wb") as file:
        arrays: dict[str, Any] = {f"threshold/{t}": d.all for t, d in drawn.items()}
        np.savez(file, auspro=drawings.values, **arrays)
    shown = {"settings": settings, **drawings.facts}
    write_text(folder / JSON, json.dumps(shown, indent=2) + "\n")


def read(folder: epath.Path, settings: Mapping[str, Any]) -> ThresholdStudy | None:
    """What `write` wrote with these settings; None where there is no such thing."""
    try:
        facts = json.loads((folder / JSON).read_text())
        if facts.pop("settings") != settings:
            return None
        with open_file(folder / DRAWS) as file:
            return ThresholdStudy(np.load(file)["auspro"], facts)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    except (EOFError, zipfile.BadZipFile):
        return None
