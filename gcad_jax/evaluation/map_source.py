"""Where evaluation gets the anomaly map of one image from.

It asks a `MapSource` for one map after the other, so that the maps of a category at
full resolution never exist together.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from gcad_jax.core.machine.threads import Scratch
from gcad_jax.data.dataset import TestImage
from gcad_jax.data.resize import upsample

MapSource: TypeAlias = Callable[[int], np.ndarray]  # image index -> (H, W) real


@dataclasses.dataclass(frozen=True)
class UpsampledMaps:
    """Source of network-size maps (N, h, w); upsamples one when it is asked for.

    Raises ValueError where the number of maps is not that of the images.
    """

    maps: np.ndarray
    images: Sequence[TestImage]

    def __post_init__(self) -> None:
        shape, count = self.maps.shape, len(self.images)
        if len(shape) != 3 or shape[0] != count:
            raise ValueError(f"maps has shape {shape}; expected ({count}, h, w)")

    def __call__(self, i: int, space: Scratch | None = None) -> np.ndarray:
        """The map of one image; in `space`, until the thread asks for the next."""
        image = self.images[i]
        return upsample(self.maps[i], image.height, image.width, space)


def fetch_map(source: MapSource, i: int, space: Scratch) -> np.ndarray:  # (H, W)
    """One map; it may lie in `space`, until the thread asks for the next."""
    return source(i, space) if isinstance(source, UpsampledMaps) else source(i)
