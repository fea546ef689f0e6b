"""python -m gcad_jax.benchmarks.onnx CONFIG ...: ONNX Runtime against our program.

For each config, such as configs/loco.py:small, a detector of its method with random
weights is exported, compared and timed on drawn images of the network's size: all maps
and scores of a batch. The two alternate. A row has the size of the file, the largest
difference from predict as a share of a map's range, images a second of both (medians
of all rounds), and the median of their ratios, with the smallest and the largest.

  --batch=N   images of a call, 1
  --rounds=N  how often both are timed, 9
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from gcad_jax.benchmarks.arguments import make_parser, number
from gcad_jax.benchmarks.predict import random_detector
from gcad_jax.config import files
from gcad_jax.core.console import set_verbosity
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.memory import keep_freed_memory
from gcad_jax.core.paths import as_path
from gcad_jax.inference.detector import FPR, Detector
from gcad_jax.inference.exported import ONNX, write_export
from gcad_jax.inference.onnx_detector import OnnxDetector

HEADER = (
    f"{'config':<30}{'MB':>7}{'differs':>9}{'predict':>8}{'ONNX':>8}"
    f"{'ONNX/predict':>18}"
)


def measure(config: str, batch_size: int, rounds: int) -> str:
    """A row of the table.

    Raises:
      UserError: a config that cannot be read, or a method that cannot be exported.
    """
    method = files.load(config).method
    with tempfile.TemporaryDirectory() as folder:
        path = as_path(folder) / "random.onnx"
        detector = random_detector(method)
        num_bytes, difference = write_export(detector, path, FPR, form=ONNX)
        of_file = OnnxDetector(path)
    program = Detector(detector.stored, batch_size)
    shape = (batch_size, *detector.stored.image_size, method.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def seconds(call: Callable[[np.ndarray], object]) -> float:
        start = time.perf_counter()
        jax.device_get(call(images))  # of ONNX Runtime they are there already
        return time.perf_counter() - start

    calls = program.score_batch, of_file.score_batch
    pairs = [tuple(map(seconds, calls)) for _ in range(rounds + 1)][1:]  # one compiles
    rates = [
        batch_size / statistics.median(column) for column in zip(*pairs, strict=True)
    ]
    ratios = sorted(mine / onnx for mine, onnx in pairs)
    median, low, high = statistics.median(ratios), ratios[0], ratios[-1]
    spread = f"{median:.2f} ({low:.2f}-{high:.2f})"
    return (
        f"{config:<30}{num_bytes / 1e6:>7.1f} {difference.maps:>8.1e}"
        f" {rates[0]:>7.3g} {rates[1]:>7.3g}{spread:>18}"
    )


def parser() -> argparse.ArgumentParser:
    """The flags; tests parse the commands of pages by them."""
    flags = make_parser(__doc__)
    flags.add_argument("configs", nargs="+", metavar="CONFIG")
    flags.add_argument("--batch", type=number, default=1)
    flags.add_argument("--rounds", type=number, default=9)
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for each config."""
    given = parser().parse_args(arguments)
    set_verbosity(quiet=True)
    keep_freed_memory()
    print(
        f"{os.cpu_count()} processors, jax {jax.__version__}, "
        f"{jax.local_devices()[0].device_kind}; batches of {given.batch}; images/s"
    )
    print(HEADER)
    try:
        for config in given.configs:
            print(measure(config, given.batch, given.rounds), flush=True)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
