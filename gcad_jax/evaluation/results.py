"""Numbers of one category, by branch and seed, and the way back from JSON."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

from gcad_jax.core.types import COMBINED, MAP_MAXIMUM
from gcad_jax.data.dataset import LOGICAL, STRUCTURAL
from gcad_jax.evaluation import spro

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
class MethodScores:
    """Of one seed by the method's own image scores, which decide.

    image_scores: (N,) in the order of the test images.
    auroc, auroc_official: as in `Scores`. defects: AU-ROC by defect type.
    """

    image_scores: tuple[float, ...]
    auroc: Mapping[str, Number]
    auroc_official: Mapping[str, Number]
    defects: Mapping[str, Number]


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
    method_scores: of the combined map, where the method gives an image score that is
        not the maximum of the map; None otherwise.
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
    method_scores: MethodScores | None = None

    @property
    def decision_scores(self) -> tuple[float, ...]:
        """The image scores that decide: the method's own, or the maximum of the map."""
        return (self.method_scores or self).image_scores


@dataclasses.dataclass(frozen=True)
class CategoryResult:
    """All that the report says of one category; written to and read from JSON.

    dataset, name, complete, notes: as in `data.dataset.Category`.
    seeds: the seeds in the order of every per-seed tuple.
    images: (name, kind) of each test image.
    branches: by the paper's names, for each seed; COMBINED is among them.
    validation: for each seed the image scores of the combined map (maximum, at network
        size) on the good validation images.
    image_score: what the image score is that decides; `MAP_MAXIMUM` where the method
        gives no other.
    method_validation: for each seed the method's own image scores of the validation
        images; () where that is the maximum of the map.
    fit: sentences on what the first seed has learned of the training images.
    """

    dataset: str
    name: str
    complete: bool
    notes: tuple[str, ...]
    seeds: tuple[int, ...]
    images: tuple[tuple[str, str], ...]
    branches: Mapping[str, tuple[Scores, ...]]
    validation: tuple[tuple[float, ...], ...] = ()
    image_score: str = MAP_MAXIMUM
    method_validation: tuple[tuple[float, ...], ...] = ()
    fit: tuple[str, ...] = ()

    @property
    def has_method_scores(self) -> bool:
        """Whether the image score that decides is not the maximum of the map."""
        return self.image_score != MAP_MAXIMUM

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

        Of results of version 0.1.0, which have no image score but the maximum, too.

        Raises KeyError or TypeError where a field is missing or of another form.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        since_0_2 = {"image_score": MAP_MAXIMUM, "method_validation": (), "fit": ()}
        known = {name: {**since_0_2, **fields}[name] for name in names}
        known["notes"] = tuple(known["notes"])
        known["seeds"] = tuple(known["seeds"])
        known["fit"] = tuple(known["fit"])
        known["images"] = tuple((name, kind) for name, kind in known["images"])
        for name in ("validation", "method_validation"):
            known[name] = tuple(tuple(scores) for scores in known[name])
        known["branches"] = {
            branch: tuple(_scores_from_json(scores) for scores in seeds)
            for branch, seeds in known["branches"].items()
        }
        return cls(**known)


def half_sum(first: Number, second: Number) -> Number:
    """The paper's mean over both kinds; None where either is missing."""
    return None if first is None or second is None else (first + second) / 2


def _scores_from_json(fields: Mapping[str, Any]) -> Scores:
    fields = {"method_scores": None, **fields}  # version 0.1.0 has none
    known = {f.name: fields[f.name] for f in dataclasses.fields(Scores)}
    if of_method := known["method_scores"]:
        scores = {f.name: of_method[f.name] for f in dataclasses.fields(MethodScores)}
        scores["image_scores"] = tuple(scores["image_scores"])
        known["method_scores"] = MethodScores(**scores)
    known["defects"] = tuple(DefectScores(**defect) for defect in known["defects"])
    for name in ("image_scores", "image_auspro"):
        known[name] = tuple(known[name])
    known["thresholds"] = {
        kind: {limit: tuple(t) if t else None for limit, t in by_limit.items()}
        for kind, by_limit in known["thresholds"].items()
    }
    return Scores(**known)
