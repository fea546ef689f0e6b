"""A trained detector, and what it finds in images: `gcad_jax.load`.

Images of any size go in; each is zoomed to the side of the network by itself, so that
one compiled program of one batch shape serves them all.
"""

import collections
import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import jax
import numpy as np
from etils import epath

from gcad_jax.core.checks import nearest, positive
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path, as_path, list_folder
from gcad_jax.core.threads import Scratch, map_in_order, thread_pool
from gcad_jax.core.types import COMBINED, Array, Tree
from gcad_jax.data.images import read_image, to_channels
from gcad_jax.data.input.device import to_float
from gcad_jax.data.resize import resize_image, upsample
from gcad_jax.evaluation.threshold import achievable_fpr, p_values, threshold
from gcad_jax.inference import detector_file
from gcad_jax.inference.detector_file import DetectorFile
from gcad_jax.methods.common.apply import all_maps

FPR = 0.05
AHEAD = 2  # batches that are read while the device computes

# A file, or the pixels: (H, W, 3), (H, W, 1) or (H, W) uint8.
Source: TypeAlias = Path | np.ndarray


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a detector says of one image.

    score: of the image, the maximum of its combined map at network size; larger is
        more anomalous.
    anomalous: whether it is above the threshold of the false positive rate that was
        asked for.
    p_value: share of good images that score as high, as the validation images tell;
        small is anomalous. With V validation images it is never below 1 / (V + 1).
    height, width: of the image, in pixels.
    network_maps: (S, S) float32 by name: branches by the paper's names, and "A", the
        combined map that counts.
    """

    score: float
    anomalous: bool
    p_value: float
    height: int
    width: int
    network_maps: Mapping[str, np.ndarray]

    @property
    def anomaly_map(self) -> np.ndarray:
        """Scores of the pixels of the image, (height, width) float32."""
        return self.branch_map(COMBINED)

    def branch_map(self, name: str) -> np.ndarray:
        """The same of one map of `network_maps`."""
        # In memory of its own, for the map is the caller's to keep.
        return upsample(self.network_maps[name], self.height, self.width, Scratch())


class Detector:
    """One category, one seed; made by `load`.

    stored: method, networks and calibration, and what they were trained on.
    batch_size: images that the device gets at once; always as many, so that the program
        is compiled once.
    """

    def __init__(self, stored: DetectorFile, batch_size: int) -> None:
        self.stored = stored
        self.batch_size = batch_size
        self._detector = jax.device_put(stored.detector)
        maps = all_maps(stored.method)

        def of_batch(detector: Tree, images: Array) -> dict[str, Array]:
            seed = (detector.learned, detector.calibration)
            return maps(detector.frozen, [seed], to_float(images))[0]

        self._maps = jax.jit(of_batch)

    def limit_batch(self, images: int) -> None:
        """Takes a smaller batch where there are fewer images; call it before them."""
        self.batch_size = max(1, min(self.batch_size, images))

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the maps that are combined, in the paper's order."""
        return tuple(self.stored.method.branches)

    @property
    def validation_scores(self) -> tuple[float, ...]:
        """Image scores of the good validation images, which set every threshold."""
        return self.stored.scales[COMBINED].image_scores

    def threshold(self, fpr: float = FPR) -> float:
        """The score above which an image is anomalous.

        fpr: share of good images that may score higher. What it promises, and with how
            many validation images: `evaluation.decision`.

        Raises UserError for a rate outside 0 to 1.
        """
        return threshold(self.validation_scores, fpr)

    def promised(self, fpr: float = FPR) -> float:
        """The rate that the validation images are enough for: `fpr` or a larger one."""
        return achievable_fpr(len(self.validation_scores), fpr)

    def predict(self, images: Sequence[Source], fpr: float = FPR) -> list[Prediction]:
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
        found = []
        for _, prediction in self.stream(images, fpr):
            if isinstance(prediction, UserError):
                raise prediction
            found.append(prediction)
        return found

    def stream(
        self, images: Iterable[Source], fpr: float = FPR
    ) -> Iterator[tuple[np.ndarray | None, Prediction | UserError]]:
        """The same for as many images as there are: one after the other, in order.

        Yields the image as it was read, (H, W, C) uint8, and what was found, or None
        and why it cannot be read. Images are read by threads while the device computes.
        """
        limit = self.threshold(fpr)
        size, channels = self.stored.method.image_size, self.stored.method.channels

        def load(source: Source) -> tuple[np.ndarray, np.ndarray] | UserError:
            try:
                image = read(source, channels)
            except UserError as error:
                return error
            return image, resize_image(image, size)

        waiting: collections.deque[tuple[list, Tree | None]] = collections.deque()
        with thread_pool() as pool:
            loaded = map_in_order(pool, load, images, AHEAD * self.batch_size)
            for batch in _batches(loaded, self.batch_size):
                waiting.append((batch, self._begun(batch)))
                if len(waiting) > 1:
                    yield from self._finished(waiting.popleft(), limit)
            while waiting:
                yield from self._finished(waiting.popleft(), limit)

    def batch_maps(self, images: Array | np.ndarray) -> Tree:
        """Maps by name, (batch_size, S, S), being computed on the device.

        images: (batch_size, S, S, C) uint8, as the network takes them.
        """
        return self._maps(self._detector, images)

    def _begun(self, batch: Sequence) -> Tree | None:
        """Maps of the images that could be read, being computed on the device."""
        pixels = [loaded[1] for loaded in batch if not isinstance(loaded, UserError)]
        if not pixels:
            return None
        pixels += pixels[-1:] * (self.batch_size - len(pixels))
        return self.batch_maps(np.stack(pixels))

    def _finished(
        self, begun: tuple[Sequence, Tree | None], limit: float
    ) -> Iterator[tuple[np.ndarray | None, Prediction | UserError]]:
        batch, maps = begun
        found = jax.device_get(maps) if maps is not None else {}
        names = (*self.branches, COMBINED)
        row = 0
        for loaded in batch:
            if isinstance(loaded, UserError):
                yield None, loaded
                continue
            image, own = loaded[0], {name: found[name][row] for name in names}
            row += 1
            score = float(own[COMBINED].max())
            [p_value] = p_values(np.array([score]), self.validation_scores)
            yield (
                image,
                Prediction(
                    score=score,
                    anomalous=score > limit,
                    p_value=float(p_value),
                    height=image.shape[0],
                    width=image.shape[1],
                    network_maps=own,
                ),
            )


def load(
    workdir: Path,
    category: str | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
) -> Detector:
    """The detector of a finished run.

    Args:
      workdir: of the run, the folder of one of its categories, or one detector file
        (CATEGORY/detectors/seed_0.npz), which needs nothing beside it.
      category: which; may be left out where there is one.
      seed: of the training; the first one where it is left out.
      batch_size: images that the device computes at once, and that fewer images are
        filled up to: 1 for the shortest wait of a single image. The method's
        `inference_batch_size` where it is left out.

    Raises:
      UserError: no such detector, or a file that is damaged.
    """
    path = find(as_path(workdir).expanduser(), category, seed)
    stored = detector_file.read(path)
    for field, wanted in (("category", category), ("seed", seed)):
        if wanted not in (None, own := getattr(stored, field)):
            raise UserError(
                f"{path} is the detector of the {field} {own!r}, not {wanted!r}."
            )
    size = stored.method.inference_batch_size if batch_size is None else batch_size
    positive("batch_size", size)
    return Detector(stored, size)


def find(workdir: epath.Path, category: str | None, seed: int | None) -> epath.Path:
    """The file of a detector; raises UserError as `load` does."""
    if workdir.is_file():
        return workdir
    if not workdir.is_dir():
        raise UserError(
            f"{workdir} is not there; give the workdir of a finished run, or a "
            "detector file."
        )
    by_category = {}
    for folder in (workdir, *list_folder(workdir)[0]):
        if files := _files(folder):
            by_category[folder.name] = files
    if not by_category:
        raise UserError(
            f"{workdir} holds no detector; give the workdir of a finished run, not of "
            "a study or a merge. One that was made by an older version, or with "
            "write_detectors=False, gets its detectors when its command is repeated "
            "with write_detectors=True.",
            "write_detectors",
        )
    if category is None and len(by_category) > 1:
        raise UserError(
            f"{workdir} has detectors of several categories; name one: "
            f"{', '.join(by_category)}."
        )
    name = next(iter(by_category)) if category is None else category
    if name not in by_category:
        raise UserError(
            f"{workdir} has no detector of the category {name!r}; there are "
            f"{', '.join(by_category)}.{nearest(name, by_category)}"
        )
    files = by_category[name]
    if seed is None:
        return files[min(files)]
    if seed not in files:
        raise UserError(
            f"{workdir} has no detector of {name} with the seed {seed}; there are "
            f"{', '.join(map(str, sorted(files)))}."
        )
    return files[seed]


def _files(category: epath.Path) -> dict[int, epath.Path]:
    """By seed."""
    folder = category / detector_file.DETECTORS
    if not folder.is_dir():
        return {}
    stems = {
        path.name: path for path in list_folder(folder)[1] if path.suffix == ".npz"
    }
    seeds = {name.removeprefix("seed_").removesuffix(".npz"): name for name in stems}
    return {int(s): stems[name] for s, name in seeds.items() if s.isdigit()}


def read(source: Source, channels: int) -> np.ndarray:  # (H, W, channels) uint8
    """An image as a method takes it; raises UserError for one that cannot be used."""
    if isinstance(source, (str, os.PathLike)):
        return read_image(as_path(source).expanduser(), channels)
    if hasattr(source, "__array__") or hasattr(source, "__array_interface__"):
        source = np.asarray(source)  # of Pillow or of JAX
    if not isinstance(source, np.ndarray):
        raise UserError(
            f"an image is a {type(source).__name__}; images are paths or uint8 arrays."
        )
    gray = source.ndim == 2 or (source.ndim == 3 and source.shape[-1] == 1)
    color = source.ndim == 3 and source.shape[-1] == 3
    if source.dtype != np.uint8 or not (gray or color) or not source.size:
        raise UserError(
            f"an image is {source.dtype} of shape {source.shape}; images are uint8 of "
            "shape (H, W, 3), (H, W, 1) or (H, W)."
        )
    if gray:
        pixels = source.reshape(*source.shape[:2], 1)
        return np.repeat(pixels, channels, axis=-1)
    return to_channels(source, channels)


def _batches(items: Iterator, size: int) -> Iterator[list]:
    """Lists with up to `size` images that could be read; others are among them."""
    batch: list = []
    readable = 0
    for item in items:
        batch.append(item)
        readable += not isinstance(item, UserError)
        if readable == size:
            yield batch
            batch, readable = [], 0
    if batch:
        yield batch
