"""What a detector says of one image."""

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from gcad_jax.core.paths import Path
from gcad_jax.core.types import COMBINED
from gcad_jax.data.resize import upsample

# A file, or the pixels: (H, W, 3), (H, W, 1) or (H, W) uint8.
ImageSource: TypeAlias = Path | np.ndarray


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Score, decision and anomaly maps of one image.

    score: of the image, by which it is decided; larger is more anomalous. The maximum
        of its combined map at network size, or the method's own
        (`Detector.image_score_name`).
    anomalous: whether it is above the threshold of the false positive rate that was
        asked for.
    p_value: share of good images that score as high, as the validation images tell;
        small is anomalous. With V validation images it is never below 1 / (V + 1).
    height, width: of the image, in pixels.
    network_maps: (h, w) float32 by name: branches by the paper's names, and "A", the
        combined map that counts.
    """

    score: float
    anomalous: bool
    p_value: float
    height: int
    width: int
    network_maps: Mapping[str, np.ndarray]

    @property
    def map_maximum(self) -> float:
        """The maximum of the combined map at network size: most often the score."""
        return float(self.network_maps[COMBINED].max())

    @property
    def anomaly_map(self) -> np.ndarray:
        """Scores of the pixels of the image, (height, width) float32."""
        return self.branch_map(COMBINED)

    def branch_map(self, name: str) -> np.ndarray:
        """The same of one map of `network_maps`."""
        return upsample(self.network_maps[name], self.height, self.width)
