"""Results of categories with made-up numbers, for tests of tables."""

import dataclasses

from gcad_jax.core.types import COMBINED
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation.results import (
    LIMITS,
    MEAN,
    CategoryResult,
    MethodScores,
    Scores,
)


def scores(structural, logical, image=0.5, image_scores=(0.0, 1.0, 2.0)):
    """All limits alike."""
    half = None if None in (structural, logical) else (structural + logical) / 2
    areas = {STRUCTURAL: structural, LOGICAL: logical, MEAN: half}
    kinds = dict.fromkeys((STRUCTURAL, LOGICAL, MEAN), image)
    return Scores(
        auroc=kinds,
        auroc_official=kinds,
        auspro={kind: dict.fromkeys(LIMITS, value) for kind, value in areas.items()},
        defects=(),
        curves={},
        image_scores=image_scores,
    )


def with_method_scores(of_map, structural, logical, image_scores=(2.0, 1.0, 0.0)):
    """Scores of a map, and AU-ROC by an image score of the method's own."""
    half = None if None in (structural, logical) else (structural + logical) / 2
    kinds = {STRUCTURAL: structural, LOGICAL: logical, MEAN: half}
    defects = {defect.name: structural for defect in of_map.defects}
    by_method = MethodScores(image_scores, kinds, kinds, defects)
    return dataclasses.replace(of_map, method_scores=by_method)


def decided(result, name="darkness"):
    """A result whose seeds have scores of the method, with two validation images."""
    pairs = tuple((0.25 * seed, 0.75) for seed in result.seeds)
    return dataclasses.replace(
        result,
        image_score=name,
        validation=tuple((9.0 + seed, 7.0) for seed in result.seeds),
        method_validation=pairs,
    )


def result(name, seeds, dataset="mvtec_loco_ad", complete=True, **branches):
    return CategoryResult(
        dataset=dataset,
        name=name,
        complete=complete,
        notes=(),
        seeds=tuple(range(len(seeds))),
        images=(("good/000", GOOD), ("s/000", STRUCTURAL), ("l/000", LOGICAL)),
        branches={**branches, COMBINED: tuple(seeds)},
    )
