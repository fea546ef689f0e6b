"""The sPRO curves of several methods: each the mean over its categories and seeds."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from gcad_jax.evaluation.scores import ANOMALOUS
from gcad_jax.evaluation.tables import short
from gcad_jax.studies.finished import Finished

# By kind, then by run: sPRO at the false positive rates of `evaluation.spro`.
Lines: TypeAlias = Mapping[str, Mapping[str, np.ndarray]]


def method_curves(runs: Mapping[str, Finished]) -> Lines:
    """Of every run that has curves; a kind that none has is left out."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for kind in ANOMALOUS:
        for run in runs.values():
            curves = [
                scores.curves[kind]
                for result in run.results
                for scores in result.combined
                if kind in scores.curves
            ]
            if curves:
                found.setdefault(short(kind), {})[run.title] = np.mean(curves, axis=0)
    return found
