"""python -m gcad_jax.benchmarks.first_update: seconds until a training's first update.

The update of the joint phase of GCAD, with random images and weights, compiled in a
process of its own and with an empty folder of compiled programs: with the options that
the program sets on a GPU, and without them; then once more with the folder that the
first has filled, in which every new start of the same training finds them. On a CPU
there are no such options, and the first two are the same.

  --preset=small    narrow networks, for two cores; without it the paper's, in bfloat16
  --rounds=N        how often all is measured, 1
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import jax

from gcad_jax.benchmarks.arguments import make_parser, number
from gcad_jax.core.console import set_verbosity
from gcad_jax.core.machine.compiler_options import compiler_options
from gcad_jax.studies.throughput import config
from gcad_jax.studies.throughput.measure import SharedState, start_training
from gcad_jax.studies.throughput.rows import rows
from gcad_jax.training import compilation

# What is printed -> whether the options are set. Each of the two has a folder.
STARTS = {"with options": True, "the same, kept": True, "without options": False}


def measure(preset: str, with_options: bool) -> dict[str, float]:
    """Seconds of compiling the longest phase, and of its first call and a later one."""
    set_verbosity(quiet=True)
    if not with_options:
        compilation.compiler_options = lambda platform: {}
    shared = SharedState(config.throughput(preset), jax.local_devices()[0])
    trainer, states, resources = start_training(shared, rows(shared.config)[0])
    timing, _ = trainer.time_phase(trainer.longest_phase, states, resources, calls=5)
    return {
        "compiling": timing.compile_seconds,
        "first call": timing.first_seconds,
        "later call": timing.step_seconds,
    }


def measure_apart(preset: str, with_options: bool, folder: str) -> dict[str, float]:
    """`measure` in a process of its own, with compiled programs in `folder`."""
    words = [f"--preset={preset}", f"--child={'with' if with_options else 'without'}"]
    child = subprocess.run(
        [sys.executable, "-m", "gcad_jax.benchmarks.first_update", *words],
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": folder},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(child.stdout.splitlines()[-1])


def parser() -> argparse.ArgumentParser:
    """The flags; tests parse the commands of pages by them."""
    flags = make_parser(__doc__)
    flags.add_argument("--preset", choices=("", "small"), default="")
    flags.add_argument("--rounds", type=number, default=1)
    # Of the processes that it starts.
    flags.add_argument(
        "--child", choices=("with", "without"), help=argparse.SUPPRESS, default=None
    )
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for each start."""
    given = parser().parse_args(arguments)
    if given.child:
        print(json.dumps(measure(given.preset, given.child == "with")))
        return
    # The device is the children's: a process that holds it leaves no memory of it.
    print(f"jax {jax.__version__}; on a GPU {compiler_options('gpu')}")
    print(f"{'seconds':<18}{'compiling':>12}{'first call':>12}{'later call':>12}")
    for _ in range(given.rounds):
        with (
            tempfile.TemporaryDirectory() as kept,
            tempfile.TemporaryDirectory() as new,
        ):
            for name, with_options in STARTS.items():
                folder = kept if with_options else new
                seconds = measure_apart(given.preset, with_options, folder)
                cells = "".join(f"{value:>12.2f}" for value in seconds.values())
                print(f"{name:<18}{cells}", flush=True)


if __name__ == "__main__":
    main()
