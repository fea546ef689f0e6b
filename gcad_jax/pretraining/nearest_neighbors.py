"""What descriptors are worth by themselves: nearest neighbors on held-out photos.

A query is right if its nearest neighbor in the gallery has the same owner. Two
retrievals, each a gallery and queries of patches:

- `photo_retrieval`: which photo is a patch of? The gallery is of the left halves, the
  queries are of the right ones. Colors alone tell much, and any filter keeps them:
  `Retrieval.without_colors`.
- `place_retrieval`: which place is it? The queries show the places of the gallery
  again, a little beside, larger or smaller, in other light and with noise.

By chance one in as many is right as there are photos, or places.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image

from gcad_jax.data.input.augment import LUMA
from gcad_jax.data.input.patches import PatchCutter, spread_evenly
from gcad_jax.data.photos import PhotoSet

PATCHES_PER_HALF = 20  # patches of each half of a photo
MAX_PHOTOS = 200  # photos
NUM_PLACES = 1000
SHIFT, SCALE = 1 / 8, 0.1  # of the side of the patch
LIGHT, NOISE = 0.3, 5.0  # brightness and contrast by 0.7 to 1.3; gray levels of 255
EPS = 1e-6


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Patches to look among and patches to look for, (N, side, side, 3) uint8.

    patches_per_owner: one after the other, in both.
    """

    gallery: np.ndarray
    queries: np.ndarray
    patches_per_owner: int = 1

    def without_colors(self) -> "Retrieval":
        """The same in gray."""
        gallery, queries = _to_gray(self.gallery), _to_gray(self.queries)
        return dataclasses.replace(self, gallery=gallery, queries=queries)

    def accuracy(self, describe: Callable[[np.ndarray], np.ndarray]) -> float:
        """The fraction of queries whose nearest neighbor has their owner.

        describe: (N, side, side, 3) uint8 -> (N, d). Dimensions are standardised over
            the gallery, as E_loc's are over the training images.
        """
        gallery, queries = (
            np.asarray(describe(x), np.float64) for x in (self.gallery, self.queries)
        )
        mean, std = gallery.mean(axis=0), np.maximum(gallery.std(axis=0), EPS)
        gallery, queries = (gallery - mean) / std, (queries - mean) / std
        # Squared distances less the square of the query, the same for all neighbors.
        squares = np.square(gallery).sum(axis=1)
        nearest = np.argmin(squares[None] - 2 * queries @ gallery.T, axis=1)
        owner = np.arange(len(gallery)) // self.patches_per_owner
        return float(np.mean(owner[nearest] == owner))


def photo_retrieval(images: PhotoSet, rows: np.ndarray, cut: PatchCutter) -> Retrieval:
    """`PATCHES_PER_HALF` patches of each half of each photo; `MAX_PHOTOS` at most.

    rows: (N,) photos.
    """
    gallery, queries = [], []
    for i, row in enumerate(rows[spread_evenly(len(rows), min(len(rows), MAX_PHOTOS))]):
        image = images.read(int(row), rows)
        middle = image.shape[1] // 2
        for j in range(PATCHES_PER_HALF):
            draw = np.random.default_rng((2, i, j))
            gallery.append(cut(image[:, :middle], draw))
            queries.append(cut(image[:, middle:], draw))
    return Retrieval(np.stack(gallery), np.stack(queries), PATCHES_PER_HALF)


def place_retrieval(images: PhotoSet, rows: np.ndarray, cut: PatchCutter) -> Retrieval:
    """`NUM_PLACES` places of the photos in turn; cut.side is that of the patches."""
    side = cut.side
    margin = int(side * (SHIFT + SCALE)) + 1
    wide = dataclasses.replace(cut, side=side + 2 * margin)
    gallery, queries = [], []
    for i, row in enumerate(rows[spread_evenly(len(rows), NUM_PLACES)]):
        draw = np.random.default_rng((3, i))
        around = wide(images.read(int(row), rows), draw)
        gallery.append(around[margin : margin + side, margin : margin + side])
        queries.append(_transform_patch(around, side, draw))
    return Retrieval(np.stack(gallery), np.stack(queries))


def _transform_patch(
    around: np.ndarray, side: int, draw: np.random.Generator
) -> np.ndarray:
    """The middle of (s, s, 3) uint8, seen again; (side, side, 3) uint8."""
    shift = draw.uniform(-SHIFT, SHIFT, 2) * side
    half = side * draw.uniform(1 - SCALE, 1 + SCALE) / 2
    x, y = len(around) / 2 + shift
    patch = Image.fromarray(around).resize(
        (side, side),
        Image.Resampling.BILINEAR,
        box=(x - half, y - half, x + half, y + half),
    )
    pixels = np.asarray(patch, np.float64)
    contrast, brightness = draw.uniform(1 - LIGHT, 1 + LIGHT, 2)
    mean = pixels.mean()
    pixels = (pixels - mean) * contrast + mean * brightness
    pixels = pixels + draw.normal(0, NOISE, pixels.shape)
    return pixels.clip(0, 255).round().astype(np.uint8)


def _to_gray(patches: np.ndarray) -> np.ndarray:
    gray = (patches @ np.array(LUMA)).round().astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1)
