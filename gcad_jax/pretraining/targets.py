"""P, the frozen network that is learned from: which of its features, and where."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.types import Array, Features, Images, Tree
from gcad_jax.models.classifiers.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Layers:
    """Layers of a classification network, one after the other in F.

    network: P. layers: names of its maps, or 'pooled' and 'logits'.
    zoom: P sees a window enlarged by this factor.
    centers: rows, and columns, of the window that are described; None for one
        description of the whole window, the mean over it.
    """

    network: Classifier
    layers: tuple[str, ...]
    zoom: float = 1.0
    centers: tuple[int, ...] | None = None

    @property
    def num_features(self) -> int:
        """F, of all layers."""
        widths = self.network.widths()
        return sum(widths[layer] for layer in self.layers)

    def strides(self, side: int) -> dict[str, float]:
        """Pixels between the cells of each layer, of a window of `side` as P sees it.

        No power of 2: the first and the last cell do not stand on the first and the
        last pixel, and `interpolation` would read beside the centers.
        """
        zoomed = self._zoomed(side)
        windows = jax.ShapeDtypeStruct((1, zoomed, zoomed, 3), jnp.float32)
        shapes = jax.eval_shape(self.network.module.init, jax.random.key(0), windows)
        maps = jax.eval_shape(self.network.maps, shapes.get("params", {}), windows)
        return {n: (zoomed - 1) / max(1, maps[n].shape[1] - 1) for n in self.layers}

    def _zoomed(self, side: int) -> int:
        return round((side - 1) * self.zoom) + 1

    def features(self, params: Tree, windows: Images) -> Features:
        """(B, w, w, 3) in [0, 1] -> (B, n, n, F) float32; n = 1 without centers."""
        batch, side = windows.shape[:2]
        if self.zoom != 1:
            zoomed = self._zoomed(side)
            shape = (batch, zoomed, zoomed, 3)
            windows = jax.image.resize(windows, shape, "bilinear")
        maps = self.network.maps(params, windows)
        features = [self._at_centers(maps[layer], side) for layer in self.layers]
        return jnp.concatenate(features, axis=-1).astype(jnp.float32)

    def _at_centers(self, features: Array, side: int) -> Features:
        if features.ndim == 2:
            return features[:, None, None]
        if self.centers is None:
            return jnp.mean(features, axis=(1, 2), keepdims=True)
        rows, columns = (
            interpolation(size, side, self.centers) for size in features.shape[1:3]
        )
        return jnp.einsum("ia,bacd,jc->bijd", rows, features, columns)


def interpolation(size: int, side: int, centers: tuple[int, ...]) -> np.ndarray:
    """Weights (n, size) that read a map of `size` cells at pixels of `side`.

    Linear between cells. Convolutions of stride 2 that pad by half a kernel keep cell i
    at pixel 2 i, so the first and the last cell of a map stand on the first and the
    last pixel wherever side - 1 is a multiple of the map's stride.
    """
    at = np.asarray(centers, np.float64) / (side - 1) * (size - 1)
    apart = np.abs(at[:, None] - np.arange(size)[None])
    return np.maximum(0.0, 1.0 - apart).astype(np.float32)
