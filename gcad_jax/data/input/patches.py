"""Random patches of images, streamed: what pretraining sees.

An image is zoomed to a random square between 4 and 16 patches wide, and a patch is cut
out at random (arXiv 1911.02357). A patch is a function of (seed, step, position), so a
resumed run continues exactly and no iterator has a state to save.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from PIL import Image

from gcad_jax.data.photos import PhotoSet


@dataclasses.dataclass(frozen=True)
class PatchCutter:
    """How patches are cut.

    side: of the patch in pixels. zoom: smallest and largest side of the zoomed image,
    in multiples of `unit` pixels.
    """

    side: int
    unit: int
    zoom: tuple[int, int]

    def __call__(self, image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 -> (side, side, 3) uint8."""
        low, high = (factor * self.unit for factor in self.zoom)
        zoomed = int(draw.integers(max(low, self.side), max(high, self.side) + 1))
        x, y = draw.integers(0, zoomed - self.side + 1, 2)
        # Only the part that is cut out is zoomed; aspect is not kept.
        height, width = image.shape[0] / zoomed, image.shape[1] / zoomed
        box = (x * width, y * height, (x + self.side) * width, (y + self.side) * height)
        size = (self.side, self.side)
        patch = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=box)
        return np.asarray(patch)


@dataclasses.dataclass(frozen=True)
class PatchStream:
    """Batches of patches without end, read ahead in parallel.

    images, rows: where from. batch_size: patches of one update. threads: that cut
    patches. processes: in place of threads, where one process is too slow; each keeps
    images of its own.
    """

    images: PhotoSet
    rows: np.ndarray
    cut: PatchCutter
    batch_size: int
    threads: int = 4
    processes: int = 0

    def batches(self, seed: int, first_step: int) -> Iterator[np.ndarray]:
        """(B, side, side, 3) uint8 of steps first_step, first_step + 1, ..."""
        import grain

        records = grain.MapDataset.source(self.rows).seed(seed).shuffle()
        patches = records.repeat().random_map(
            lambda row, draw: self.cut(self.images.read(int(row), self.rows), draw)
        )
        steps = patches.batch(self.batch_size)[first_step:]
        options = grain.ReadOptions(max(1, self.threads), 4 * max(1, self.threads))
        stream = steps.to_iter_dataset(options)
        if self.processes:
            workers = grain.MultiprocessingOptions(num_workers=self.processes)
            stream = stream.mp_prefetch(workers)
        return iter(stream)

    def fixed(self, seed: int, count: int) -> np.ndarray:  # (count, side, side, 3)
        """The same `count` patches whenever they are asked for, of images far apart."""
        # Neighbors are often alike: folders are sorted by what they show.
        rows = self.rows[spread_evenly(len(self.rows), count)]
        patches = []
        for i, row in enumerate(rows):
            image = self.images.read(int(row), self.rows)
            patches.append(self.cut(image, np.random.default_rng((seed, i))))
        return np.stack(patches)


def spread_evenly(total: int, count: int) -> np.ndarray:  # (count,)
    """`count` numbers below `total`, evenly spread; in turn where there are fewer."""
    if count < total:
        return np.linspace(0, total - 1, count).round().astype(int)
    return np.resize(np.arange(total), count)
