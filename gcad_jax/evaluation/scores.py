"""From anomaly maps to the numbers of one category, for every branch and seed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from gcad_jax.core.errors import UserError
from gcad_jax.core.types import COMBINED
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL, TestImage
from gcad_jax.evaluation import spro
from gcad_jax.evaluation.auroc import auroc, auroc_official
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.map_files import MapSource, upsampled
from gcad_jax.evaluation.ranks.device_histogram import DeviceMaps
from gcad_jax.evaluation.ranks.rank import Precision, Ranking, rank
from gcad_jax.evaluation.spro import Areas

MEAN = "mean"  # half the sum of structural and logical
ANOMALOUS = (STRUCTURAL, LOGICAL)
KIND_OR_MEAN = (*ANOMALOUS, MEAN)
LIMITS = tuple(str(limit) for limit in spro.LIMITS)  # "0.01", ... as in JSON files

Number: TypeAlias = float | None  # None: there is nothing that it could be made of
ByLimit: TypeAlias = Mapping[str, Number]
Threshold: TypeAlias = tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class DefectScores:
    """One defect type against all good images.

    images, regions: number of images with the type, and of its regions.
    auroc: of the images with at least one region of the type.
    auspro: by limit; only regions of the type count, all others are no negatives.
    bound: largest distance of any of these from the exact value.
    """

    name: str
    kind: str
    images: int
    regions: int
    auroc: Number
    auspro: ByLimit
    bound: Number = 0.0


@dataclasses.dataclass(frozen=True)
class Scores:
    """One branch of one seed.

    auroc, auroc_official: by kind and "mean"; ties one half, or the official rule.
    auspro: by kind and "mean", then by limit.
    defects: in the order of their first image.
    curves: by kind, sPRO at the false positive rates `spro.RATES`.
    image_scores: maximum of each map, in the order of the test images.
    image_auspro: for each test image the mean over its own regions, by limit; the false
        positive rate is that of its kind. None for images without regions.
    thresholds: by kind, then by limit of the false positive rate, (t, rate): with
        score > t at most this share of the negatives is marked, and with the next lower
        score of any region more. None where there is no such score.
    exact: whether every distinct score of a region was a threshold.
    bounds: by kind, the largest distance of any of its AU-sPRO from the exact value.
    """

    auroc: Mapping[str, Number]
    auroc_official: Mapping[str, Number]
    auspro: Mapping[str, ByLimit]
    defects: tuple[DefectScores, ...]
    curves: Mapping[str, list[float]]
    image_scores: tuple[float, ...]
    image_auspro: tuple[ByLimit | None, ...] = ()
    thresholds: Mapping[str, Mapping[str, Threshold]] = dataclasses.field(
        default_factory=dict
    )
    exact: bool = True
    bounds: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CategoryResult:
    """All that the report says of one category; written to and read from JSON.

    dataset, name, complete, notes: as in `data.category.Category`.
    seeds: the seeds in the order of every per-seed tuple.
    images: (name, kind) of each test image.
    branches: by the paper's names, for each seed; COMBINED is among them.
    validation: for each seed the image scores of the combined map (maximum, at network
        size) on the good validation images.
    """

    dataset: str
    name: str
    complete: bool
    notes: tuple[str, ...]
    seeds: tuple[int, ...]
    images: tuple[tuple[str, str], ...]
    branches: Mapping[str, tuple[Scores, ...]]
    validation: tuple[tuple[float, ...], ...] = ()

    @property
    def combined(self) -> tuple[Scores, ...]:
        """The scores of the combined map, one for each seed."""
        return self.branches.get(COMBINED, ())

    def count(self, kind: str) -> int:
        """Number of test images of a kind."""
        return sum(k == kind for _, k in self.images)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "CategoryResult":
        """The inverse of `dataclasses.asdict` and JSON; further keys are ignored.

        Raises KeyError or TypeError where a field is missing or of another form.
        """
        known = {f.name: fields[f.name] for f in dataclasses.fields(cls)}
        known["notes"] = tuple(known["notes"])
        known["seeds"] = tuple(known["seeds"])
        known["images"] = tuple((name, kind) for name, kind in known["images"])
        known["validation"] = tuple(tuple(scores) for scores in known["validation"])
        known["branches"] = {
            branch: tuple(_scores_from_json(scores) for scores in seeds)
            for branch, seeds in known["branches"].items()
        }
        return cls(**known)


def evaluate(
    test_images: Sequence[TestImage],
    maps: Mapping[str, np.ndarray],  # branch -> (S, N, s, s), s of the network
    progress: Callable[[str], None] | None = None,
    precision: Precision | None = None,
) -> dict[str, tuple[Scores, ...]]:
    """Every branch and seed against one ground truth, at the size of each test image.

    progress: called with a branch and seed before its turn; a large category takes
        seconds a turn.

    Raises:
      UserError: NaN or Inf in a map; it names branch, position of the seed and image.
      ValueError: maps of another number than the test images.
    """
    truth = GroundTruth.build(test_images)
    results = {}
    for branch, seeds in maps.items():
        scores = []
        for number, seed_maps in enumerate(seeds, start=1):
            turn = f"{branch}, seed {number} of {len(seeds)}"
            if progress:
                progress(turn)
            try:
                scores.append(score(truth, _source(seed_maps, truth), precision))
            except UserError as error:
                raise UserError(f"{turn}: {error}") from error
        results[branch] = tuple(scores)
    return results


def _source(maps: np.ndarray, truth: GroundTruth) -> MapSource | DeviceMaps:
    """Maps of network size, for the accelerators where there are any.

    Images of several sizes, as photos in a folder, are for the host: accelerators
    would compile a program for each size, which takes longer than the counting.
    """
    fits = maps.ndim == 3 and len(maps) == len(truth.images)
    sizes = {(image.height, image.width) for image in truth.images}
    if fits and len(sizes) == 1 and _accelerators():
        return DeviceMaps(maps, truth.images, _accelerators())
    return upsampled(maps, truth.images)


def _accelerators() -> list[jax.Device]:
    return [d for d in jax.local_devices() if d.platform != "cpu"]


def score(
    truth: GroundTruth,
    source: MapSource | DeviceMaps,
    precision: Precision | None = None,
) -> Scores:
    """One set of maps against the ground truth.

    Raises:
      UserError: a map of another size than its image, or with NaN or Inf.
    """
    ranking = rank(truth, source, precision)
    areas = ranking.kind_areas
    return Scores(
        auroc=_image_scores(truth, ranking, auroc),
        auroc_official=_image_scores(truth, ranking, auroc_official),
        auspro=_localization(areas),
        defects=tuple(_defect(truth, ranking, name) for name in ranking.defects),
        curves={
            kind: points.tolist()
            for kind, ranks in ranking.kinds.items()
            if (points := spro.curve(ranks, truth.saturations)) is not None
        },
        image_scores=tuple(ranking.image_scores.tolist()),
        image_auspro=_image_areas(truth, ranking, areas),
        thresholds={
            kind: {
                key: ranks.threshold(limit)
                for key, limit in zip(LIMITS, spro.LIMITS, strict=True)
            }
            for kind, ranks in ranking.kinds.items()
        },
        exact=ranking.exact,
        bounds={kind: found.bound for kind, found in areas.items()},
    )


def half_sum(first: Number, second: Number) -> Number:
    """The paper's mean over both kinds; None where either is missing."""
    return None if first is None or second is None else (first + second) / 2


def _image_scores(
    truth: GroundTruth,
    ranking: Ranking,
    area: Callable[[np.ndarray, np.ndarray], Number],
) -> dict[str, Number]:
    of_kind = {
        kind: ranking.image_scores[np.array(truth.of_kind(kind), int)]
        for kind in (GOOD, *ANOMALOUS)
    }
    areas = {kind: area(of_kind[GOOD], of_kind[kind]) for kind in ANOMALOUS}
    return areas | {MEAN: half_sum(*areas.values())}


def _localization(areas: Mapping[str, Areas]) -> dict[str, ByLimit]:
    structural, logical = (_by_limit(areas.get(kind)) for kind in ANOMALOUS)
    both = {key: half_sum(structural[key], logical[key]) for key in LIMITS}
    return {STRUCTURAL: structural, LOGICAL: logical, MEAN: both}


def _by_limit(areas: Areas | None) -> dict[str, Number]:
    values = areas.values.tolist() if areas else [None] * len(LIMITS)
    return dict(zip(LIMITS, values, strict=True))


def _image_areas(
    truth: GroundTruth, ranking: Ranking, areas: Mapping[str, Areas]
) -> tuple[dict[str, Number] | None, ...]:
    found: list[dict[str, Number] | None] = [None] * len(truth.images)
    for kind, of_kind in areas.items():
        subset = ranking.kinds[kind].subset
        images = truth.region_images[list(subset.regions)]
        for i in subset.images:
            found[i] = _by_limit(of_kind.of(np.flatnonzero(images == i).tolist()))
    return tuple(found)


def _defect(truth: GroundTruth, ranking: Ranking, name: str) -> DefectScores:
    subset, areas = ranking.defects[name].subset, ranking.defect_areas.get(name)
    kinds = dict.fromkeys(truth.images[i].kind for i in subset.images)
    return DefectScores(
        name=subset.name,
        kind=" and ".join(kinds),
        images=len(subset.images),
        regions=len(subset.regions),
        auroc=auroc(
            ranking.image_scores[np.array(truth.of_kind(GOOD), int)],
            ranking.image_scores[np.array(subset.images, int)],
        ),
        auspro=_by_limit(areas),
        bound=areas.bound if areas else 0.0,
    )


def _scores_from_json(fields: Mapping[str, Any]) -> Scores:
    known = {f.name: fields[f.name] for f in dataclasses.fields(Scores)}
    known["defects"] = tuple(DefectScores(**defect) for defect in known["defects"])
    for name in ("image_scores", "image_auspro"):
        known[name] = tuple(known[name])
    known["thresholds"] = {
        kind: {limit: tuple(t) if t else None for limit, t in by_limit.items()}
        for kind, by_limit in known["thresholds"].items()
    }
    return Scores(**known)
