"""Results of categories with made-up numbers, for tests of tables."""

from gcad_jax.core.types import COMBINED
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation.results import LIMITS, MEAN, CategoryResult, Scores


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
