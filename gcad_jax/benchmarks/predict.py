"""python -m gcad_jax.benchmarks.predict: the speed of predict against its bare program.

GCAD with random weights, and random photos as PNG files, each of its own size. Bare is
the compiled program alone, called again and again with images that are on the device;
predict reads, zooms, computes and writes. The two alternate, and each row is one pair.

  --preset=small    narrow networks, for two cores; without it the paper's, in bfloat16
  --images=N        how many photos, 100
  --sides=LOW,HIGH  their sides in pixels, drawn between these, 200,1024
  --pairs=N         how often bare and predict are timed for each kind of output, 2
  --threads=N,M     that read, and as many that write, one number after the other; else
                    as the program has them
"""

import argparse
import functools
import os
import tempfile
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from etils import epath
from PIL import Image

from gcad_jax.benchmarks.arguments import (
    low_and_high,
    make_parser,
    number,
    numbers,
)
from gcad_jax.config import presets
from gcad_jax.core.console import set_verbosity
from gcad_jax.core.machine import threads
from gcad_jax.core.machine.threads import thread_pool
from gcad_jax.core.paths import as_path
from gcad_jax.core.types import COMBINED
from gcad_jax.data.image_size import network_size, size_text
from gcad_jax.inference import export_check, predict_folder
from gcad_jax.inference.detector import FPR, Detector
from gcad_jax.inference.detector_file import DetectorFile, Scale
from gcad_jax.inference.predict_folder import OutputOptions
from gcad_jax.methods.base import DetectorState, Method, wanted_size
from gcad_jax.methods.common.image_score import has_own_score
from gcad_jax.methods.gcad import GCAD
from gcad_jax.training.cost.timing import time_calls

OUTPUTS: Mapping[str, OutputOptions] = {
    "scores, maps, overlays": OutputOptions(FPR),
    "scores, maps": OutputOptions(FPR, overlays=False),
    "scores": OutputOptions(FPR, maps=False, overlays=False),
}
NUM_SCORES = 39  # made ones, of validation; a threshold at 5 % needs 19


def random_detector(method: Method) -> Detector:
    """One that was not trained: it is as fast as one that was."""
    size = network_size(wanted_size(method), [(1, 1)])
    shape = (8, *size, method.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    frozen, learned = method.prepare(images), method.init(jax.random.key(0))
    calibration = method.calibrate(frozen, learned, images[:2])
    state = DetectorState(frozen, learned, calibration)
    scale = Scale(0.0, tuple(float(score) for score in range(NUM_SCORES)))
    scales = dict.fromkeys((*method.branches, COMBINED), scale)
    scores = scale.image_scores if has_own_score(method) else None
    stored = DetectorFile(method, state, "drawn", "photos", 0, scales, size, scores)
    return Detector(stored, method.inference_batch_size)


def write_photos(
    folder: epath.Path, count: int, sides: tuple[int, int]
) -> dict[str, epath.Path]:
    """PNG files by name, smooth with noise on it: they decode as photos do."""

    def write_photo(number: int) -> epath.Path:
        rng = np.random.default_rng(number)
        height, width = rng.integers(sides[0], sides[1] + 1, 2)
        channels = [export_check.sample_channel(rng, height, width) for _ in range(3)]
        path = folder / f"{number:04d}.png"
        Image.fromarray(np.stack(channels, -1)).save(path)
        return path

    with thread_pool() as pool:
        return {path.stem: path for path in pool.map(write_photo, range(count))}


def time_program(detector: Detector, count: int) -> float:
    """Images a second of the program alone."""
    size = detector.batch_size
    batch = jax.device_put(np.zeros((size, *detector.stored.image_size, 3), np.uint8))
    call = functools.partial(detector.batch_maps, batch)
    time_calls(call, 1)  # compiles
    return size / time_calls(call, max(1, count // size))


def time_predict(
    detector: Detector, files: Mapping[str, epath.Path], outputs: OutputOptions
) -> float:
    """Images a second of reading, computing and writing."""
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        predict_folder.write_predictions(detector, files, as_path(output), outputs)
        return len(files) / (time.perf_counter() - start)


def parser() -> argparse.ArgumentParser:
    """The flags; tests parse the commands of pages by them."""
    flags = make_parser(__doc__)
    flags.add_argument("--preset", choices=("", "small"), default="")
    flags.add_argument("--images", type=number, default=100)
    flags.add_argument("--sides", type=low_and_high, default=(200, 1024))
    flags.add_argument("--pairs", type=number, default=2)
    flags.add_argument("--threads", type=numbers, default=())
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for each pair."""
    given = parser().parse_args(arguments)
    set_verbosity(quiet=True)  # no progress bars between the rows
    small = given.preset == "small"
    detector = random_detector(
        presets.narrow() if small else GCAD(precision="bfloat16")
    )
    device = jax.local_devices()[0].device_kind
    print(
        f"{device}, {os.cpu_count()} processors, jax {jax.__version__}, "
        f"{size_text(detector.stored.image_size)}, "
        f"batches of {detector.batch_size}"
    )
    with tempfile.TemporaryDirectory() as place:
        files = write_photos(as_path(place), given.images, given.sides)
        for num_threads in given.threads or (threads.NUM_THREADS,):
            threads.NUM_THREADS = num_threads
            print(f"{num_threads} threads read, {num_threads} write")
            print(f"{'images/s':<24}{'bare':>9}{'predict':>9}{'predict / bare':>16}")
            for name, outputs in OUTPUTS.items():
                for _ in range(given.pairs):
                    bare = time_program(detector, given.images)
                    rate = time_predict(detector, files, outputs)
                    print(
                        f"{name:<24}{bare:>9.2f}{rate:>9.2f}{rate / bare:>16.2f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
