"""Scores brought to one scale: mean 0 and deviation 1 on good validation images."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.types import AnomalyMaps, Images, ImagesU8, Tree
from gcad_jax.methods.base import DetectorState, Learned
from gcad_jax.methods.common.apply import in_batches

EPS = 1e-12  # deviation that is divided by: 0 for a map that is constant


class CalibratedBranches:
    """Branches with a map for each p in P; normalized they are averaged and summed."""

    P: tuple[int, ...]
    inference_batch_size: int

    @property
    def branches(self) -> tuple[str, ...]:
        """Their names, in the paper's order."""
        raise NotImplementedError

    def _raw_maps(self, frozen: Tree, learned: Learned, images: Images) -> Tree:
        """{"<branch>_<p>": (B, S, S) float32}, each on a scale of its own."""
        raise NotImplementedError

    def calibrate(self, frozen: Tree, learned: Learned, images: ImagesU8) -> Tree:
        """Mu and sigma of each branch and p over all pixels of the good images [P 4].

        images: (V, S, S, 3) uint8. Returns {"<branch>_<p>": {"mu": (), "sigma": ()}}.
        """
        raw_maps = functools.partial(jax.jit(self._raw_maps), frozen, learned)
        maps = in_batches(raw_maps, images, self.inference_batch_size)
        return {
            name: {
                "mu": jnp.float32(values.mean(dtype=np.float64)),
                "sigma": jnp.float32(values.std(dtype=np.float64)),
            }
            for name, values in maps.items()
        }

    def branch_maps(
        self, detector: DetectorState, images: Images
    ) -> Mapping[str, AnomalyMaps]:
        """Each branch, (raw - mu) / sigma averaged over P [P 4]; (B, S, S) each."""
        raw = self._raw_maps(detector.frozen, detector.learned, images)

        def normalize(name: str) -> AnomalyMaps:
            moments = detector.calibration[name]
            return (raw[name] - moments["mu"]) / jnp.maximum(moments["sigma"], EPS)

        maps = {}
        for branch in self.branches:
            first, *others = (normalize(f"{branch}_{p}") for p in self.P)
            maps[branch] = sum(others, first) / len(self.P)
        return maps

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """A, the sum of the branches [P 4]; a single one is A by itself. (B, S, S)."""
        first, *others = self.branch_maps(detector, images).values()
        return sum(others, first)
