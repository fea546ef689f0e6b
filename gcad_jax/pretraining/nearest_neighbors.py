"""What descriptors are worth by themselves: nearest neighbors on held-out photos.

A query is right if its nearest neighbor in the gallery has the same owner. Two
questions, each a gallery and queries of patches:

- `halves`: which photo is a patch of? The gallery is of the left halves, the queries
  are of the right ones. Colors alone tell much, and any filter keeps them: `gray`.
- `places`: which place is it? The queries show the places of the gallery again, a
  little beside, larger or smaller, in other light and with noise.

By chance one in as many is right as there are photos, or places.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image

from gcad_jax.data.input.augment import LUMA
from gcad_jax.data.input.patches import Cut, evenly
from gcad_jax.data.photos import Images

OF_EACH = 20  # patches of each half of a photo
MOST = 200  # photos
PLACES = 1000
SHIFT, SCALE = 1 / 8, 0.1  # of the side of the patch
LIGHT, NOISE = 0.3, 5.0  # brightness and contrast by 0.7 to 1.3; gray levels of 255
SMALLEST = 1e-6


@dataclasses.dataclass(frozen=True)
class Question:
    """Patches to look among and patches to look for, (N, side, side, 3) uint8.

    of_each: patches of an owner, one after the other, in both.
    """

    gallery: np.ndarray
    queries: np.ndarray
    of_each: int = 1

    def gray(self) -> "Question":
        """The same without colors."""
        return dataclasses.replace(
            self, gallery=_gray(self.gallery), queries=_gray(self.queries)
        )

    def answered(self, describe: Callable[[np.ndarray], np.ndarray]) -> float:
        """The fraction of queries whose nearest neighbor has their owner.

        describe: (N, side, side, 3) uint8 -> (N, d). Dimensions are standardised over
            the gallery, as E_loc's are over the training images.
        """
        known, asked = (
            np.asarray(describe(x), np.float64) for x in (self.gallery, self.queries)
        )
        mean, std = known.mean(axis=0), np.maximum(known.std(axis=0), SMALLEST)
        known, asked = (known - mean) / std, (asked - mean) / std
        squares = np.square(known).sum(axis=1)
        nearest = np.argmin(squares[None] - 2 * asked @ known.T, axis=1)
        owner = np.arange(len(known)) // self.of_each
        return float(np.mean(owner[nearest] == owner))


def halves(images: Images, rows: np.ndarray, cut: Cut) -> Question:
    """`OF_EACH` patches of each half of each photo, of `MOST` photos at most.

    rows: (N,) photos.
    """
    gallery, queries = [], []
    for i, row in enumerate(rows[evenly(len(rows), min(len(rows), MOST))]):
        image = images.read(int(row), rows)
        middle = image.shape[1] // 2
        for j in range(OF_EACH):
            draw = np.random.default_rng((2, i, j))
            gallery.append(cut(image[:, :middle], draw))
            queries.append(cut(image[:, middle:], draw))
    return Question(np.stack(gallery), np.stack(queries), OF_EACH)


def places(images: Images, rows: np.ndarray, cut: Cut) -> Question:
    """`PLACES` places of the photos in turn; cut.side is that of the patches."""
    side = cut.side
    margin = int(side * (SHIFT + SCALE)) + 1
    wide = dataclasses.replace(cut, side=side + 2 * margin)
    gallery, queries = [], []
    for i, row in enumerate(rows[evenly(len(rows), PLACES)]):
        draw = np.random.default_rng((3, i))
        around = wide(images.read(int(row), rows), draw)
        gallery.append(around[margin : margin + side, margin : margin + side])
        queries.append(_seen_again(around, side, draw))
    return Question(np.stack(gallery), np.stack(queries))


def _seen_again(around: np.ndarray, side: int, draw: np.random.Generator) -> np.ndarray:
    """The middle of (s, s, 3) uint8, changed as `places` says; (side, side, 3)."""
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


def _gray(patches: np.ndarray) -> np.ndarray:
    gray = (patches @ np.array(LUMA)).round().astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1)
