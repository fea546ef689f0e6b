"""What methods are put together from where they do nothing of their own.

Not methods: a method never inherits from another.
"""

from collections.abc import Mapping
from typing import ClassVar

import optax

from gcad_jax.core.types import AnomalyMaps, Images, ImagesU8, Key, Tree
from gcad_jax.methods.base import DetectorState, Learned, Phase


class OneMap:
    """There is one map, and its scale is its own: no branches, no calibration."""

    branches: ClassVar[tuple[str, ...]] = ()

    def calibrate(self, frozen: Tree, learned: Learned, images: ImagesU8) -> Tree:
        """Nothing."""
        return {}

    def branch_maps(
        self, detector: DetectorState, images: Images
    ) -> Mapping[str, AnomalyMaps]:
        """One map alone."""
        return {}


class NothingFrozen:
    """All that the method knows is trained."""

    def prepare(self, images: ImagesU8) -> Tree:
        """Nothing is frozen."""
        return {}

    def cache(self, frozen: Tree, images: Images) -> Tree:
        """Nothing can be computed ahead."""
        return {}


class Untrained:
    """All that the method knows is frozen: no networks, no phases, no seeds."""

    augmented: ClassVar[bool] = False
    batch_size: ClassVar[int] = 1
    samples_per_epoch: ClassVar[int | None] = None

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """None."""
        return {}

    def init(self, key: Key) -> Learned:
        """Nothing is learned; all seeds give the same."""
        return Learned({}, {})

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        """None."""
        return ()

    def cache(self, frozen: Tree, images: Images) -> Tree:
        """Nothing."""
        return {}
