"""python -m gcad_jax.benchmarks.predict: the speed of predict against its bare program.

GCAD with random weights, and drawn photos as PNG files, each of its own size. Bare is
the compiled program alone, called again and again with images that are on the device;
predict reads, zooms, computes and writes. The two alternate, and each row is one pair.

  --preset=small    the networks for two CPU cores; without it the paper's, in bfloat16
  --images=N        how many photos, 100
  --sides=LOW,HIGH  their sides in pixels, drawn between these, 200,1024
  --pairs=N         how often bare and predict are timed for each kind of output, 2
  --threads=N,M     that read, and as many that write, one number after the other; else
                    as the program has them
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from etils import epath
from PIL import Image

from gcad_jax.config import presets
from gcad_jax.core import threads
from gcad_jax.core.console import set_verbosity
from gcad_jax.core.paths import as_path
from gcad_jax.core.threads import thread_pool
from gcad_jax.core.types import COMBINED
from gcad_jax.inference import export_check, predict_folder
from gcad_jax.inference.detector import FPR, Detector
from gcad_jax.inference.detector_file import DetectorFile, Scale
from gcad_jax.inference.predict_folder import OutputOptions
from gcad_jax.methods.base import DetectorState, Method
from gcad_jax.methods.gcad import GCAD

OUTPUTS: Mapping[str, OutputOptions] = {
    "scores, maps, overlays": OutputOptions(FPR),
    "scores, maps": OutputOptions(FPR, overlays=False),
    "scores": OutputOptions(FPR, maps=False, overlays=False),
}
VALIDATION = 39  # made scores; a threshold at 5 % needs 19


def random_detector(method: Method) -> Detector:
    """One that was not trained: it is as fast as one that was."""
    shape = (8, method.image_size, method.image_size, method.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    frozen, learned = method.prepare(images), method.init(jax.random.key(0))
    found = DetectorState(
        frozen, learned, method.calibrate(frozen, learned, images[:2])
    )
    scale = Scale(0.0, tuple(float(score) for score in range(VALIDATION)))
    scales = dict.fromkeys((*method.branches, COMBINED), scale)
    stored = DetectorFile(method, found, "drawn", "photos", 0, scales)
    return Detector(stored, method.inference_batch_size)


def photos(
    folder: epath.Path, count: int, sides: tuple[int, int]
) -> dict[str, epath.Path]:
    """PNG files by name, smooth with noise on it: they decode as photos do."""

    def draw(number: int) -> epath.Path:
        rng = np.random.default_rng(number)
        height, width = rng.integers(sides[0], sides[1] + 1, 2)
        channels = [export_check.sample_channel(rng, height, width) for _ in range(3)]
        path = folder / f"{number:04d}.png"
        Image.fromarray(np.stack(channels, -1)).save(path)
        return path

    with thread_pool() as pool:
        return {path.stem: path for path in pool.map(draw, range(count))}


def bare(trained: Detector, count: int) -> float:
    """Images a second of the program alone."""
    side, size = trained.stored.method.image_size, trained.batch_size
    batch = jax.device_put(np.zeros((size, side, side, 3), np.uint8))
    jax.block_until_ready(trained.batch_maps(batch))
    calls = max(1, count // size)
    start = time.perf_counter()
    for _ in range(calls):
        last = trained.batch_maps(batch)
    jax.block_until_ready(last)
    return calls * size / (time.perf_counter() - start)


def predicted(
    trained: Detector, files: Mapping[str, epath.Path], wanted: OutputOptions
) -> float:
    """Images a second of reading, computing and writing."""
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        predict_folder.write_predictions(trained, files, as_path(output), wanted)
        return len(files) / (time.perf_counter() - start)


def parser() -> argparse.ArgumentParser:
    """Of the flags above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=("", "small"), default="")
    parser.add_argument("--images", type=number, default=100)
    parser.add_argument("--sides", type=low_and_high, default=(200, 1024))
    parser.add_argument("--pairs", type=number, default=2)
    parser.add_argument("--threads", type=numbers, default=())
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for each pair."""
    given = parser().parse_args(arguments)
    set_verbosity(quiet=True)  # no progress bars between the rows
    small = given.preset == "small"
    trained = random_detector(presets.small() if small else GCAD(precision="bfloat16"))
    device = jax.local_devices()[0].device_kind
    print(
        f"{device}, {os.cpu_count()} processors, jax {jax.__version__}, "
        f"{trained.stored.method.image_size} x {trained.stored.method.image_size}, "
        f"batches of {trained.batch_size}"
    )
    with tempfile.TemporaryDirectory() as place:
        files = photos(as_path(place), given.images, given.sides)
        for num_threads in given.threads or (threads.NUM_THREADS,):
            threads.NUM_THREADS = num_threads
            print(f"{num_threads} threads read, {num_threads} write")
            print(f"{'images/s':<24}{'bare':>9}{'predict':>9}{'predict / bare':>16}")
            for name, wanted in OUTPUTS.items():
                for _ in range(given.pairs):
                    alone = bare(trained, given.images)
                    rate = predicted(trained, files, wanted)
                    print(
                        f"{name:<24}{alone:>9.2f}{rate:>9.2f}{rate / alone:>16.2f}",
                        flush=True,
                    )


def number(text: str) -> int:
    """Of a flag, 1 or more; argparse says what it is not."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def numbers(text: str) -> tuple[int, ...]:
    """With commas between."""
    return tuple(map(number, text.split(",")))


def low_and_high(text: str) -> tuple[int, int]:
    """Two numbers, the second as large or larger."""
    low, high = numbers(text)
    if low > high:
        raise ValueError
    return low, high


if __name__ == "__main__":
    main()
