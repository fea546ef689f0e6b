"""A trained detector and its predictions; `gcad_jax.load` makes one from its file.

Images of any size go in; each is resized to the size of the network by itself, so that
one compiled program of one batch shape serves them all.
"""

import collections
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import jax
import numpy as np
from etils import epath

from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.machine.threads import FULL_SIZE, map_in_order, thread_pool
from gcad_jax.core.machine.traced_programs import compile_kept
from gcad_jax.core.paths import as_path
from gcad_jax.core.types import COMBINED, Array, Tree
from gcad_jax.data.images import Source, hold_decoded
from gcad_jax.data.input.device import to_float
from gcad_jax.data.resize import resize_image
from gcad_jax.evaluation.threshold import achievable_fpr, p_values, threshold
from gcad_jax.inference.detector_file import DetectorFile
from gcad_jax.inference.image_inputs import read_pixels
from gcad_jax.inference.prediction import ImageSource, Prediction
from gcad_jax.methods.common.apply import ScoredImages, all_maps

FPR = 0.05
OWN = "gcad_jax."  # how the modules of this package begin
AHEAD = 2  # batches that are read while the device computes

# What is kept of an image, the image as the network takes it, and (H, W) as it was
# read; or why it cannot be read.
LoadedImage: TypeAlias = tuple[np.ndarray, np.ndarray, tuple[int, int]] | UserError
Reduce: TypeAlias = Callable[[np.ndarray], np.ndarray]


class Detector:
    """One category, one seed; made by `load`.

    stored: method, networks and calibration, and what they were trained on.
    batch_size: images that the device gets at once; always as many, so that the program
        is compiled once.
    """

    def __init__(self, stored: DetectorFile, batch_size: int) -> None:
        self.stored = stored
        self.batch_size = batch_size
        self._state = jax.device_put(stored.detector)
        score_seeds = all_maps(stored.method)

        def score(state: Tree, images: Array) -> tuple[Tree, Array]:
            seed = (state.learned, state.calibration)
            # A plain tuple, which a kept program can hold.
            return tuple(score_seeds(state.frozen, [seed], to_float(images))[0])

        self._program = score
        self._score: Callable[[Tree, Array | np.ndarray], tuple[Tree, Array]] = (
            jit_here(score)
        )

    def limit_batch(self, images: int) -> None:
        """Takes a smaller batch where there are fewer images; call it before them."""
        self.batch_size = max(1, min(self.batch_size, images))

    def keep_program(
        self, folder: epath.Path | None, before_compiling: Callable[[], None]
    ) -> None:
        """Compiles now, or takes what an earlier call has kept in `folder`.

        Programs of the package's own methods alone are kept, whose source is known.

        folder: None keeps nothing.
        before_compiling: called where it must be compiled.
        """
        method = self.stored.method
        if folder is None or not type(method).__module__.startswith(OWN):
            before_compiling()
            return
        size = (self.batch_size, *self.stored.image_size, method.channels)
        images = jax.ShapeDtypeStruct(size, np.uint8)
        self._score = compile_kept(
            self._program, (self._state, images), folder, repr(method), before_compiling
        )

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the maps that are combined, in the paper's order."""
        return tuple(self.stored.method.branches)

    @property
    def validation_scores(self) -> tuple[float, ...]:
        """Image scores of the good validation images, which set every threshold."""
        return self.stored.validation_scores

    @property
    def image_score_name(self) -> str:
        """What the score of an image is: "maximum of the map", or the method's own."""
        return self.stored.image_score_name

    def threshold(self, fpr: float = FPR) -> float:
        """The score above which an image is anomalous.

        fpr: share of good images that may score higher. What it promises, and with how
            many validation images: `evaluation.threshold`.

        Raises UserError for a rate outside 0 to 1.
        """
        return threshold(self.validation_scores, fpr)

    def map_threshold(self, fpr: float = FPR) -> float:
        """The value of the combined map above which pixels are marked.

        As many good images have such a pixel as `fpr` says. It is `threshold` where the
        score of an image is the maximum of its map.

        Raises UserError for a rate outside 0 to 1.
        """
        return threshold(self.stored.scales[COMBINED].image_scores, fpr)

    def achievable_fpr(self, fpr: float = FPR) -> float:
        """The rate that the validation images are enough for: `fpr` or a larger one."""
        return achievable_fpr(len(self.validation_scores), fpr)

    def predict(
        self, images: Sequence[ImageSource], fpr: float = FPR
    ) -> list[Prediction]:
        """What is wrong in each of the images, in their order.

        images: paths, or uint8 arrays (H, W, 3) RGB, (H, W, 1) or (H, W) gray; of any
            sizes. fpr: see `threshold`.

        Raises:
          UserError: an image that cannot be read (see `stream` to go on without it).
        """
        if isinstance(images, (str, os.PathLike)) or (
            isinstance(images, np.ndarray) and images.ndim < 4
        ):
            raise UserError(
                "images is a single image; give a sequence of them, such as [image]."
            )
        predictions = []
        for _, prediction in self.stream(images, fpr, lambda image: image[:0]):
            if isinstance(prediction, UserError):
                raise prediction
            predictions.append(prediction)
        return predictions

    def stream(
        self,
        images: Iterable[ImageSource],
        fpr: float = FPR,
        reduce: Reduce = lambda image: image,
    ) -> Iterator[tuple[np.ndarray | None, Prediction | UserError]]:
        """The same for as many images as there are: one after the other, in order.

        Yields the image as it was read, (H, W, C) uint8, and what was found, or None
        and why it cannot be read. Images are read by threads while the device computes.

        reduce: called with each image when it has been read; what it returns is kept
            and yielded in its place, so that large images are not held.
        """
        limit = self.threshold(fpr)
        size, channels = self.stored.image_size, self.stored.method.channels

        def load_image(source: ImageSource) -> LoadedImage:
            path: Source = b""  # pixels that are given need no memory to be decoded
            if isinstance(source, (str, os.PathLike)):
                path = as_path(source).expanduser()
            with hold_decoded(path):
                try:
                    image = read_pixels(source, channels)
                except UserError as error:
                    return error
                return reduce(image), resize_image(image, size), image.shape[:2]

        pending = collections.deque[tuple[list[LoadedImage], ScoredImages | None]]()
        with thread_pool() as pool:
            ahead = AHEAD * self.batch_size
            loaded_images = map_in_order(pool, load_image, images, ahead, _bytes_kept)
            for batch in _batches(loaded_images, self.batch_size):
                pixels = [loaded[1] for loaded in batch if isinstance(loaded, tuple)]
                fill = pixels[-1:] * (self.batch_size - len(pixels))
                scored = self.score_batch(np.stack(pixels + fill)) if pixels else None
                pending.append((batch, scored))
                # One batch stays behind: the device computes while its results are
                # fetched and the next images are read.
                large = sum(map(_bytes_kept, batch)) > FULL_SIZE.limit
                if len(pending) > 1 or large:
                    yield from self._finish_batch(*pending.popleft(), limit)
            while pending:
                yield from self._finish_batch(*pending.popleft(), limit)

    def batch_maps(self, images: Array | np.ndarray) -> Tree:
        """The maps of `score_batch` alone: by name, (batch_size, h, w)."""
        return self.score_batch(images).maps

    def score_batch(self, images: Array | np.ndarray) -> ScoredImages:
        """Maps and image scores, being computed on the device.

        images: (batch_size, h, w, C) uint8, as the network takes them.
        """
        return ScoredImages(*self._score(self._state, images))

    def _finish_batch(
        self, batch: Sequence[LoadedImage], scored: ScoredImages | None, limit: float
    ) -> Iterator[tuple[np.ndarray | None, Prediction | UserError]]:
        # Without any image that could be read there are no maps, and none is asked for.
        maps, own_scores = jax.device_get(scored) if scored else ({}, ())
        row = 0  # of the maps, which unreadable images have none of
        for loaded in batch:
            if isinstance(loaded, UserError):
                yield None, loaded
                continue
            network_maps = {
                name: maps[name][row] for name in (*self.branches, COMBINED)
            }
            score = float(network_maps[COMBINED].max())
            if self.stored.method_scores is not None:
                score = float(own_scores[row])
            row += 1
            p_value = float(p_values(np.array([score]), self.validation_scores)[0])
            image, _, (height, width) = loaded
            is_above = score > limit
            yield (
                image,
                Prediction(score, is_above, p_value, height, width, network_maps),
            )


def _bytes_kept(loaded: LoadedImage) -> int:
    return 0 if isinstance(loaded, UserError) else loaded[0].nbytes


def _batches(images: Iterable[LoadedImage], size: int) -> Iterator[list[LoadedImage]]:
    """Lists with up to `size` images that could be read; others are among them."""
    batch: list[LoadedImage] = []
    readable = 0
    for image in images:
        batch.append(image)
        readable += not isinstance(image, UserError)
        if readable == size:
            yield batch
            batch, readable = [], 0
    if batch:
        yield batch
