"""python -m gcad_jax.benchmarks.peer: GCAD against another program, in turn.

Images a second of an update of the joint phase, and of all maps of a batch that lies
on the device, on random images with random weights, in float32. The other program
measures the same networks in a process of its own; while one side works, the other
waits. Each round is one pair of both, and the last row has the medians.

  --peer=FILE       Python with step_fn(preset, batch, 1, 0), which returns two
                    functions: one makes an update, the other scores a batch
  --python=PROGRAM  the Python that runs it; else the one that runs this
  --preset=narrow   GCAD :narrow at 128 x 128 in batches of 4, which FILE is asked for
                    as small; or paper, the paper's networks with P = (33,) at
                    256 x 256, one image
  --rounds=N        pairs, 5
  --seconds=N       about how long each side works in a round, 3
  --plain           XLA's own convolutions for ours, whatever the device is
"""

import argparse
import contextlib
import functools
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax

from gcad_jax.benchmarks.arguments import make_parser, number
from gcad_jax.config import presets
from gcad_jax.core.console import set_verbosity
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.memory import keep_freed_memory
from gcad_jax.methods.base import Method
from gcad_jax.methods.gcad import GCAD
from gcad_jax.models.layers.convolution import plain_convolutions
from gcad_jax.studies.throughput.config import ThroughputStudy
from gcad_jax.studies.throughput.measure import (
    SharedState,
    compile_maps,
    start_training,
)
from gcad_jax.studies.throughput.rows import rows
from gcad_jax.training.cost.timing import time_calls

# By --preset: the method, and what the peer calls it.
PRESETS: dict[str, tuple[Callable[[], Method], str]] = {
    "narrow": (presets.narrow, "small"),
    "paper": (lambda: GCAD(P=(33,)), "paper"),
}
TRAIN, SCORE = "train", "score"
# What the other Python runs: a line "train 5" is answered by the seconds of five calls.
PEER = """
import runpy, sys, time
path, preset, batch = sys.argv[1:]
sys.argv = sys.argv[:1]
step_fn = runpy.run_path(path, run_name="peer")["step_fn"]
train, score = step_fn(preset, int(batch), 1, 0)
calls = {"train": train, "score": score}
for line in sys.stdin:
    name, count = line.split()
    start = time.perf_counter()
    for _ in range(int(count)):
        calls[name]()
    print(time.perf_counter() - start, flush=True)
"""


class Peer:
    """The other program, which waits between two questions."""

    def __init__(self, python: str, path: str, preset: str, batch: int) -> None:
        """Starts it; it reads its file and makes its networks."""
        self.path = path
        self.process = subprocess.Popen(
            [python, "-c", PEER, path, preset, str(batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *error: object) -> None:
        """Ends it."""
        self.process.kill()
        self.process.communicate()

    def seconds(self, name: str, calls: int) -> float:
        """Of one of several calls that follow each other.

        Raises:
          UserError: the program ended; what it said stands above.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # the answer is missing then
            print(name, calls, file=self.process.stdin, flush=True)
        if not (answer := self.process.stdout.readline()):
            raise UserError(
                f"{self.path} ended without an answer; what its Python says of it "
                "stands above."
            )
        return float(answer) / calls


def our_calls(method: Method) -> dict[str, Callable[[int], float]]:
    """By name what times so many calls of ours: seconds of one."""
    study = ThroughputStudy(method=method, num_images=max(16, method.batch_size))
    shared = SharedState(study, jax.local_devices()[0])
    trainer, states, resources = start_training(shared, rows(study)[0])
    position = len(trainer.phases) - 1  # the joint phase after the skips
    on_device = [states]

    def train(calls: int) -> float:
        timing, on_device[0] = trainer.time_phase(
            position, on_device[0], resources, calls
        )
        return timing.step_seconds

    detector = shared.networks(method).detector
    score, _ = compile_maps(method, detector, shared.images(method.batch_size))
    return {TRAIN: train, SCORE: functools.partial(time_calls, score)}


def parser() -> argparse.ArgumentParser:
    """The flags; tests parse the commands of pages by them."""
    flags = make_parser(__doc__)
    flags.add_argument("--peer", required=True)
    flags.add_argument("--python", default=sys.executable)
    flags.add_argument("--preset", choices=tuple(PRESETS), default="narrow")
    flags.add_argument("--rounds", type=number, default=5)
    flags.add_argument("--seconds", type=number, default=3)
    flags.add_argument("--plain", action="store_true")
    return flags


def measure(given: Any) -> None:
    """Prints a row for each pair."""
    make_method, name_there = PRESETS[given.preset]
    method = make_method()
    with Peer(given.python, given.peer, name_there, method.batch_size) as peer:
        _print_rounds(given, method, peer)


def _print_rounds(given: Any, method: Method, peer: Peer) -> None:
    ours = our_calls(method)
    print(
        f"{os.cpu_count()} processors, jax {jax.__version__}, "
        f"{jax.local_devices()[0].device_kind}; {given.preset}, batches of "
        f"{method.batch_size}; images/s"
    )
    print(f"{'':<10}{'ours':>10}{'peer':>10}{'ours / peer':>14}")
    for name, time_ours in ours.items():
        time_ours(1), peer.seconds(name, 1)  # compiles
        # As many calls of both as the slower makes in the time.
        slower = max(time_ours(1), peer.seconds(name, 1))
        calls = max(2, math.ceil(given.seconds / slower))
        pairs = []
        for _ in range(given.rounds):
            seconds = time_ours(calls), peer.seconds(name, calls)
            mine, theirs = (method.batch_size / s for s in seconds)
            pairs.append((mine, theirs, mine / theirs))
            _print_row(name, pairs[-1])
        medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
        _print_row(f"{name}, median", medians)


def _print_row(name: str, numbers: Sequence[float]) -> None:
    ours, theirs, ratio = numbers
    print(f"{name:<15}{ours:>7.3g}{theirs:>10.3g}{ratio:>12.2f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what the flags say."""
    flags = parser()
    given = flags.parse_args(arguments)
    if not os.path.isfile(given.peer):
        flags.error(f"--peer={given.peer} is no file")
    if shutil.which(given.python) is None:
        flags.error(f"--python={given.python} is no program")
    set_verbosity(quiet=True)
    keep_freed_memory()
    try:
        with plain_convolutions() if given.plain else contextlib.nullcontext():
            measure(given)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
