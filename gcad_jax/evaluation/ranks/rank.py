"""Where the pixels of regions stand among the negatives, exactly or enclosed."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from gcad_jax.core import checks
from gcad_jax.core.machine.threads import thread_pool
from gcad_jax.data.dataset import LOGICAL, STRUCTURAL
from gcad_jax.evaluation import spro
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.map_source import MapSource
from gcad_jax.evaluation.ranks.bounded_ranks import bounded_ranks
from gcad_jax.evaluation.ranks.device_histogram import DeviceMaps
from gcad_jax.evaluation.ranks.exact_ranks import exact_ranks
from gcad_jax.evaluation.ranks.ranks import Ranks

AUTO, EXACT, BINNED = "auto", "exact", "binned"
EXACT_PIXELS = 2**25  # up to which "auto" is exact


@dataclasses.dataclass(frozen=True)
class Precision:
    """How exact the pass is to be.

    mode: "exact"; "binned", whose values come with a bound; "auto" is exact where that
        takes a few seconds at most, or where cells cannot keep the tolerance.
    tolerance: the bound of a binned value of a kind or a defect type is below it, as
        far as float32 can tell the scores apart.
    workers: threads; 0 takes one for each processor, at most 8.
    """

    mode: str = AUTO
    tolerance: float = 1e-5
    workers: int = 0

    def __post_init__(self) -> None:
        checks.one_of("mode", self.mode, (AUTO, EXACT, BINNED))
        checks.positive("tolerance", self.tolerance)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """What one set of maps leaves behind.

    image_scores: (N,) float64, the maximum of each map [P 5.5].
    kinds, defects: by name; a kind without regions is left out.
    kind_areas, defect_areas: the same at the saturations of the ground truth, without
        those that have no negatives.
    exact: whether the exact mode was taken.
    """

    image_scores: np.ndarray
    kinds: Mapping[str, Ranks]
    defects: Mapping[str, Ranks]
    kind_areas: Mapping[str, spro.Areas]
    defect_areas: Mapping[str, spro.Areas]
    exact: bool


def rank(
    truth: GroundTruth,
    source: MapSource | DeviceMaps,
    precision: Precision | None = None,
) -> Ranking:
    """One set of maps against the ground truth; the binned mode of `DeviceMaps` runs
    on their devices, all else on the host.

    Raises:
      UserError: a map of another size than its image, or with NaN or Inf.
    """
    precision = precision or Precision()
    kinds = [s for kind in (STRUCTURAL, LOGICAL) if (s := truth.subset_of_kind(kind))]
    types = [s for name in truth.defect_names() if (s := truth.subset_of_defect(name))]
    subsets, workers = (*kinds, *types), precision.workers
    pixels = sum(image.height * image.width for image in truth.images)
    exact = precision.mode == EXACT or (
        precision.mode == AUTO and pixels <= EXACT_PIXELS
    )
    if not exact:
        tolerance = precision.tolerance
        image_scores, ranks, areas = bounded_ranks(
            truth, subsets, source, tolerance, workers
        )
        kept = all(a.bound <= tolerance for a in areas if a)
        exact = precision.mode == AUTO and not kept
    if exact:
        source = source.host() if isinstance(source, DeviceMaps) else source
        image_scores, ranks = exact_ranks(truth, subsets, source, workers)
        with thread_pool(workers) as threads:
            areas = list(threads.map(lambda r: spro.areas(r, truth.saturations), ranks))
    ranked = list(zip(ranks, areas, strict=True))
    kind_ranks, type_ranks = ranked[: len(kinds)], ranked[len(kinds) :]
    return Ranking(
        image_scores,
        kinds={r.subset.name: r for r, _ in kind_ranks},
        defects={r.subset.name: r for r, _ in type_ranks},
        kind_areas={r.subset.name: a for r, a in kind_ranks if a},
        defect_areas={r.subset.name: a for r, a in type_ranks if a},
        exact=exact,
    )
