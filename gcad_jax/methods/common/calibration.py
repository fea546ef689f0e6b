"""Scores brought to one scale: mean 0 and deviation 1 on good validation images."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.types import AnomalyMaps, Images, ImagesU8, Tree
from gcad_jax.methods.base import DetectorState, Learned
from gcad_jax.methods.common.apply import in_batches

EPS = 1e-12  # deviation that is divided by: 0 for a map that is constant


class CalibratedBranches:
    """Branches with a map for each model; normalized they are averaged and summed."""

    P: tuple[int, ...]
    inference_batch_size: int

    @property
    def models(self) -> tuple[int | str, ...]:
        """What the names of networks and maps end with: the receptive fields."""
        return self.P

    @property
    def branches(self) -> tuple[str, ...]:
        """Their names, in the paper's order."""
        raise NotImplementedError

    def _metric(self, frozen: Tree, learned: Learned, images: ImagesU8) -> Tree:
        """What distances between features need of the good images; {} for nothing.

        Returns {"<branch>_<p>": {name: array}}, which becomes part of the calibration.
        """
        return {}

    def _raw_maps(
        self, frozen: Tree, learned: Learned, metric: Tree, images: Images
    ) -> Tree:
        """{"<branch>_<p>": (B, S, S) float32}, each on a scale of its own.

        metric: the calibration, or the part of it that `_metric` returned.
        """
        raise NotImplementedError

    def calibrate(self, frozen: Tree, learned: Learned, images: ImagesU8) -> Tree:
        """Mu and sigma of each branch and p over all pixels of the good images [P 4].

        images: (V, S, S, 3) uint8. Returns {"<branch>_<p>": {"mu": (), "sigma": ()}},
        and beside these what `_metric` returned.
        """
        metric = self._metric(frozen, learned, images)
        arguments = (frozen, learned, metric)
        raw_maps = jit_here(self._raw_maps)
        maps = in_batches(raw_maps, images, self.inference_batch_size, arguments)
        return {
            name: {
                "mu": jnp.float32(values.mean(dtype=np.float64)),
                "sigma": jnp.float32(values.std(dtype=np.float64)),
                **metric.get(name, {}),
            }
            for name, values in maps.items()
        }

    def branch_maps(
        self, detector: DetectorState, images: Images
    ) -> Mapping[str, AnomalyMaps]:
        """(B, S, S) of each branch, (raw - mu) / sigma averaged over models [P 4]."""
        calibration = detector.calibration
        raw = self._raw_maps(detector.frozen, detector.learned, calibration, images)

        def normalize(name: str) -> AnomalyMaps:
            moments = calibration[name]
            return (raw[name] - moments["mu"]) / jnp.maximum(moments["sigma"], EPS)

        maps = {}
        for branch in self.branches:
            first, *others = (normalize(f"{branch}_{m}") for m in self.models)
            maps[branch] = sum(others, first) / len(self.models)
        return maps

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """A, the sum of the branches [P 4]; a single one is A by itself. (B, S, S)."""
        first, *others = self.branch_maps(detector, images).values()
        return sum(others, first)
