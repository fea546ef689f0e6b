"""Does an exported file say what `predict` says? Both see the same images."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from PIL import Image

from gcad_jax.core.types import Array
from gcad_jax.data.image_size import as_pair
from gcad_jax.inference.detector import Detector

LIMIT = 1e-4  # of the range of a map
EPS = 1e-12  # range that is divided by


@dataclasses.dataclass(frozen=True)
class ExportDifference:
    """The largest differences between two programs, of all images.

    maps: in units of the range of the image's map. scores: in the same; a method's own
    image score in units of itself where it is larger. images: how many.
    """

    maps: float
    scores: float
    images: int

    @property
    def small(self) -> bool:
        """Whether an exported file may be written; NaN is not small."""
        return self.maps <= LIMIT and self.scores <= LIMIT


def compare_with_predict(
    call: Callable[[np.ndarray], dict[str, Array]],
    detector: Detector,
    batches: Sequence[np.ndarray],
) -> ExportDifference:
    """Measures an exported file against `detector.predict`.

    call: of the exported file. batches: each (B, H, W, C) uint8.

    On the CPU, where there is one: products of an accelerator are rounded by how a
    program was tiled, which would be all that is seen.
    """
    maps, scores = [], []
    device = jax.local_devices()[0]
    with contextlib.suppress(RuntimeError):  # there is no CPU
        device = jax.local_devices(backend="cpu")[0]
    with jax.default_device(device):
        # One of its own, for the arrays of the other may be elsewhere.
        detector = Detector(detector.stored, detector.batch_size)
        for batch in batches:
            results = jax.device_get(call(batch))
            for row, prediction in enumerate(detector.predict(list(batch))):
                expected = prediction.anomaly_map
                span = max(float(np.ptp(expected)), EPS)
                apart = np.abs(results["anomaly_map"][row] - expected)
                maps.append(float(np.max(apart)) / span)
                gap = abs(float(results["score"][row]) - prediction.score)
                if detector.stored.method_scores is not None:
                    span = max(span, abs(prediction.score))  # a scale of its own
                limit = float(results["threshold"])
                agreed = bool(results["anomalous"][row]) == (prediction.score > limit)
                if not agreed and abs(prediction.score - limit) > LIMIT * span:
                    gap = np.inf  # another decision, and not by rounding
                scores.append(gap / span)
    # NumPy's maximum, of which a NaN is the largest.
    return ExportDifference(float(np.max(maps)), float(np.max(scores)), len(maps))


def sample_batches(size: int | tuple[int, int], channels: int) -> Iterator[np.ndarray]:
    """Two batches, smooth with noise on it: one image that shrinks, two that grow.

    size: (height, width) of the network's images, or the side of squares.
    """
    rng = np.random.default_rng(0)
    tall, wide = as_pair(size)
    shapes = (1, 3 * tall // 2 + 1, wide + 3), (2, tall // 2, wide)
    for count, height, width in shapes:
        drawn = [sample_channel(rng, height, width) for _ in range(count * channels)]
        pixels = np.reshape(drawn, (count, channels, height, width))
        yield np.ascontiguousarray(np.moveaxis(pixels, 1, -1))


def sample_channel(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """One channel of a drawn photo, (height, width) uint8: smooth, with noise on it."""
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8))
    large = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.normal(0, 8, large.shape)
    return np.clip(large + noise, 0, 255).astype(np.uint8)
