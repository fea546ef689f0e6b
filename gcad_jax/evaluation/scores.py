"""From anomaly maps to the numbers of one category, for every branch and seed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from gcad_jax.core.errors import UserError
from gcad_jax.core.types import COMBINED
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL, TestImage
from gcad_jax.evaluation import spro
from gcad_jax.evaluation.auroc import auroc, auroc_official
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.map_source import MapSource, UpsampledMaps
from gcad_jax.evaluation.ranks.device_histogram import DeviceMaps
from gcad_jax.evaluation.ranks.rank import Precision, Ranking, rank
from gcad_jax.evaluation.results import (
    ANOMALOUS,
    LIMITS,
    MEAN,
    DefectScores,
    MethodScores,
    Number,
    Scores,
    half_sum,
)
from gcad_jax.evaluation.spro import Areas


def evaluate(
    test_images: Sequence[TestImage],
    maps: Mapping[str, np.ndarray],  # branch -> (S, N, h, w) of the network
    progress: Callable[[str], None] | None = None,
    precision: Precision | None = None,
    devices: Sequence[jax.Device] = (),
    method_scores: np.ndarray | None = None,  # (S, N)
) -> dict[str, tuple[Scores, ...]]:
    """Every branch and seed against one ground truth, at the size of each test image.

    progress: called with a branch and seed before its turn; a large category takes
        seconds a turn.
    devices: that count pixels where all images have one size, such as
        `core.axes.accelerators()`; the host where there are none.
    method_scores: image scores by the method's own definition, which go with the
        combined map; None where that is the maximum of the map.

    Raises:
      UserError: NaN or Inf in a map or score; it names branch, position of the seed and
        image.
      ValueError: maps of another number than the test images.
    """
    truth = GroundTruth.build(test_images)
    # Images of several sizes, as photos in a folder, are for the host: devices would
    # compile a program for each size, which takes longer than the counting.
    on_devices = devices and len({(i.height, i.width) for i in test_images}) == 1
    results = {}
    for branch, seeds in maps.items():
        scores = []
        for number, seed_maps in enumerate(seeds, start=1):
            turn = f"{branch}, seed {number} of {len(seeds)}"
            if progress:
                progress(turn)
            try:
                source: MapSource | DeviceMaps = UpsampledMaps(seed_maps, truth.images)
                if on_devices:
                    source = DeviceMaps(seed_maps, truth.images, devices)
                of_seed = score(truth, source, precision)
                if branch == COMBINED and method_scores is not None:
                    by_method = score_by_method(truth, method_scores[number - 1])
                    of_seed = dataclasses.replace(of_seed, method_scores=by_method)
                scores.append(of_seed)
            except UserError as error:
                raise UserError(f"{turn}: {error}") from error
        results[branch] = tuple(scores)
    return results


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
    structural, logical = (_by_limit(areas.get(kind)) for kind in ANOMALOUS)
    both = {key: half_sum(structural[key], logical[key]) for key in LIMITS}
    return Scores(
        auroc=_auroc_by_kind(truth, ranking.image_scores, auroc),
        auroc_official=_auroc_by_kind(truth, ranking.image_scores, auroc_official),
        auspro={STRUCTURAL: structural, LOGICAL: logical, MEAN: both},
        defects=tuple(_score_defect(truth, ranking, name) for name in ranking.defects),
        curves={
            kind: points.tolist()
            for kind, ranks in ranking.kinds.items()
            if (points := spro.curve(ranks, truth.saturations)) is not None
        },
        image_scores=tuple(ranking.image_scores.tolist()),
        image_auspro=_auspro_by_image(truth, ranking, areas),
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


def score_by_method(truth: GroundTruth, image_scores: np.ndarray) -> MethodScores:
    """AU-ROC by the method's own image scores (N,), which need no masks.

    Raises:
      UserError: NaN or Inf among the scores.
    """
    image_scores = np.asarray(image_scores, np.float64)
    if not (finite := np.isfinite(image_scores)).all():
        name = truth.images[int(np.argmin(finite))].name
        raise UserError(
            f"the image score that the method gives of {name} is NaN or Inf."
        )
    return MethodScores(
        image_scores=tuple(image_scores.tolist()),
        auroc=_auroc_by_kind(truth, image_scores, auroc),
        auroc_official=_auroc_by_kind(truth, image_scores, auroc_official),
        defects={
            name: _auroc_of_images(truth, image_scores, subset.images)
            for name in truth.defect_names()
            if (subset := truth.subset_of_defect(name))
        },
    )


def _auroc_by_kind(
    truth: GroundTruth,
    image_scores: np.ndarray,
    area: Callable[[np.ndarray, np.ndarray], Number],
) -> dict[str, Number]:
    by_kind = {
        kind: image_scores[np.array(truth.images_of_kind(kind), int)]
        for kind in (GOOD, *ANOMALOUS)
    }
    areas = {kind: area(by_kind[GOOD], by_kind[kind]) for kind in ANOMALOUS}
    return areas | {MEAN: half_sum(*areas.values())}


def _auroc_of_images(
    truth: GroundTruth, image_scores: np.ndarray, images: Sequence[int]
) -> Number:
    """Of some images against all good ones."""
    good = np.array(truth.images_of_kind(GOOD), int)
    return auroc(image_scores[good], image_scores[np.array(images, int)])


def _by_limit(areas: Areas | None) -> dict[str, Number]:
    values = areas.values.tolist() if areas else [None] * len(LIMITS)
    return dict(zip(LIMITS, values, strict=True))


def _auspro_by_image(
    truth: GroundTruth, ranking: Ranking, areas: Mapping[str, Areas]
) -> tuple[dict[str, Number] | None, ...]:
    by_image: list[dict[str, Number] | None] = [None] * len(truth.images)
    for kind, areas_of_kind in areas.items():
        subset = ranking.kinds[kind].subset
        images = truth.region_images[list(subset.regions)]
        for i in subset.images:
            own_regions = np.flatnonzero(images == i).tolist()
            by_image[i] = _by_limit(areas_of_kind.of(own_regions))
    return tuple(by_image)


def _score_defect(truth: GroundTruth, ranking: Ranking, name: str) -> DefectScores:
    subset, areas = ranking.defects[name].subset, ranking.defect_areas.get(name)
    kinds = dict.fromkeys(truth.images[i].kind for i in subset.images)
    return DefectScores(
        name=subset.name,
        kind=" and ".join(kinds),
        images=len(subset.images),
        regions=len(subset.regions),
        auroc=_auroc_of_images(truth, ranking.image_scores, subset.images),
        auspro=_by_limit(areas),
        bound=areas.bound if areas else 0.0,
    )
