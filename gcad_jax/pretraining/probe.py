"""What descriptors are worth by themselves: does a patch find its own photo?

Patches of the left half of every photo are the gallery, patches of the right half the
queries; a query is right if its nearest neighbour in the gallery is of its photo. By
chance one in as many is right as there are photos.
"""

from collections.abc import Callable

import numpy as np

from gcad_jax.data.patches import Cut
from gcad_jax.data.photos import Images

OF_EACH = 20  # patches of each half
SMALLEST = 1e-6


def halves(images: Images, rows: np.ndarray, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Patches of the left and of the right halves, `OF_EACH` of each photo in turn.

    rows: (N,) photos. Returns two of (N OF_EACH, side, side, 3) uint8.
    """
    gallery, queries = [], []
    for i, row in enumerate(rows):
        image = images.read(int(row))
        middle = image.shape[1] // 2
        for j in range(OF_EACH):
            draw = np.random.default_rng((2, i, j))
            gallery.append(cut(image[:, :middle], draw))
            queries.append(cut(image[:, middle:], draw))
    return np.stack(gallery), np.stack(queries)


def found_again(
    describe: Callable[[np.ndarray], np.ndarray],
    gallery: np.ndarray,
    queries: np.ndarray,
) -> float:
    """The fraction of queries whose nearest neighbour is of their photo.

    describe: (N, side, side, 3) uint8 -> (N, d). Dimensions are standardised over the
    gallery, as E_loc's are over the training images. gallery, queries: of `halves`.
    """
    known, asked = (np.asarray(describe(x), np.float64) for x in (gallery, queries))
    mean, std = known.mean(axis=0), np.maximum(known.std(axis=0), SMALLEST)
    known, asked = (known - mean) / std, (asked - mean) / std
    squares = np.square(known).sum(axis=1)
    nearest = np.argmin(squares[None] - 2 * asked @ known.T, axis=1)
    photo = np.arange(len(known)) // OF_EACH
    return float(np.mean(photo[nearest] == photo))
