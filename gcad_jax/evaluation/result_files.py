"""Files of results: metrics.json and details.json of each category.

`metrics.json` has the schema of the official evaluation program, mean over the seeds;
`details.json` has everything else, so that a report is rebuilt without the maps.
"""

import dataclasses
import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from etils import epath

from gcad_jax.core.atomic_files import write_text
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path
from gcad_jax.core.types import COMBINED
from gcad_jax.evaluation.results import (
    KIND_OR_MEAN,
    LIMITS,
    CategoryResult,
    Number,
    Scores,
)

METRICS = "metrics.json"
DETAILS = "details.json"


def official_metrics(
    seeds: Sequence[Scores],
    summary: Callable[[list[Number]], Number] | None = None,
) -> dict[str, Any]:
    """The official schema; None (null in JSON) where there is no number.

    summary: how the seeds become one number; their mean where it is left out. One
        seed alone: hand in one.
    """
    summary = summary or mean
    auspro = {
        kind: {
            limit: summary([scores.auspro[kind][limit] for scores in seeds])
            for limit in LIMITS
        }
        for kind in KIND_OR_MEAN
    }
    auroc = {
        kind: summary([scores.auroc[kind] for scores in seeds]) for kind in KIND_OR_MEAN
    }
    return {
        "classification": {"auc_roc": auroc},
        "localization": {"auc_spro": auspro},
    }


def mean(values: Sequence[Number]) -> Number:
    """Mean over the seeds; None where a seed has no number."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def deviation(values: Sequence[Number]) -> Number:
    """Sample standard deviation over the seeds; None for fewer than two."""
    known = [value for value in values if value is not None]
    complete = len(known) > 1 and len(known) == len(values)
    return statistics.stdev(known) if complete else None


def detailed_results(result: CategoryResult) -> dict[str, Any]:
    """Every number of the category, by branch and seed, and a summary of each branch.

    The keys are the fields of `CategoryResult`, and `summary`: for each branch the
    official schema as mean and as standard deviation over the seeds; of the combined
    map also the AU-ROC of the method's own image scores, where it has some.
    """
    summary = {
        branch: {
            "mean": official_metrics(seeds),
            "std": official_metrics(seeds, deviation),
        }
        for branch, seeds in result.branches.items()
    }
    if result.combined and result.has_method_scores:
        by_name = {"mean": mean, "std": deviation}
        summary[COMBINED]["method_scores"] = {
            name: {"auc_roc": _auroc_by_method(result.combined, summarize)}
            for name, summarize in by_name.items()
        }
    return dataclasses.asdict(result) | {"summary": summary}


def _auroc_by_method(
    seeds: Sequence[Scores], summarize: Callable[[list[Number]], Number]
) -> dict[str, Number]:
    """AU-ROC by kind of the method's own image scores; all seeds have some."""
    found = [scores.method_scores for scores in seeds if scores.method_scores]
    return {
        kind: summarize([scores.auroc[kind] for scores in found])
        for kind in KIND_OR_MEAN
    }


def write_metrics(path: Path, values: dict[str, Any], sort_keys: bool = True) -> None:
    """JSON with indent 4 and, unless told otherwise, sorted keys; whole or not at all.

    Raises UserError where it cannot be written, ValueError for NaN.
    """
    text = json.dumps(values, sort_keys=sort_keys, indent=4, allow_nan=False)
    write_text(path, text + "\n")


def write_result(folder: Path, result: CategoryResult) -> None:
    """`metrics.json` and `details.json` of one category; makes the folder."""
    # Unsorted: a report that is rebuilt has the branches in the same order.
    write_metrics(
        epath.Path(folder) / DETAILS, detailed_results(result), sort_keys=False
    )
    write_metrics(epath.Path(folder) / METRICS, official_metrics(result.combined))


def read_result(folder: Path) -> CategoryResult:
    """The inverse of `write_result`; raises UserError where the file is not whole."""
    path = epath.Path(folder) / DETAILS
    try:
        return CategoryResult.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} does not hold the results of a category ({error!r}); delete it "
            "to evaluate again."
        ) from error
