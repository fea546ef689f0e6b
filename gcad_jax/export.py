"""python -m gcad_jax.export --workdir=DIR --output=FILE

Makes of a trained detector one file that JAX runs without this package.
"""

import time

from absl import flags

from gcad_jax.cli import shared_flags
from gcad_jax.cli.shared_flags import INTERRUPTED, SHARED_HELP, fail, parse_all
from gcad_jax.core.atomic_files import check_writable
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path

REQUIRED = ("workdir", "output")
OPTIONAL = ("category", "seed", "fpr", "images")
BATCH = 2  # images that predict is asked about at once
OWN = 8  # images of --images that are compared


def define_flags() -> None:
    """Defines the flags, when the command runs: other commands have the same names."""
    for name in (*REQUIRED, "category", "images"):
        flags.DEFINE_string(name, None, "See --help.")
    flags.DEFINE_integer("seed", None, "See --help.")
    flags.DEFINE_float("fpr", 0.05, "See --help.")


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake is one sentence and exit code 2."""
    define_flags()
    stray = "put a pattern of --images in quotes"
    return parse_all(argv, REQUIRED, HELP, EXAMPLE, stray, OPTIONAL)


def main(_: list[str]) -> None:
    """Exports; a user's mistake is one sentence and exit code 2."""
    # Imported here, so that --help and a mistyped flag answer at once.
    from gcad_jax.inference import export_check, exported
    from gcad_jax.inference.image_inputs import find_images, read_pixels
    from gcad_jax.inference.load import load
    from gcad_jax.inference.metadata import as_text

    given = flags.FLAGS
    start = time.monotonic()
    try:
        output = as_path(given.output).expanduser()
        beside = output.name + exported.ABOUT
        check_writable(output.parent, (output.name, beside), "output")
        paths = find_images(given.images, output) if given.images else {}
        detector = load(given.workdir, given.category, given.seed, batch_size=BATCH)
        exported.check_size(detector.stored)
        channels = detector.stored.method.channels
        own = [read_pixels(path, channels) for path in list(paths.values())[:OWN]]
        for line in as_text(detector.stored, given.fpr):
            print_line(line)
        size, found = exported.write_export(detector, output, given.fpr, own)
    except UserError as error:
        fail(error, 2)
    except KeyboardInterrupt:
        fail(UserError(f"stopped; {given.output} is not written."), INTERRUPTED)
    print_line(
        f"parity      largest difference from predict: {found.maps:.1e} of the range\n"
        f"            of a map ({found.images} images, on the CPU; "
        f"{export_check.LIMIT:g} is allowed)",
        result=True,
    )
    print_line(f"platforms   {', '.join(exported.PLATFORMS)}")
    print_line(f"size        {size / 1e6:,.1f} MB, in {time.monotonic() - start:.0f} s")
    print_line(
        f"exported    {output}\nabout it    {output.with_name(beside)}", result=True
    )


EXAMPLE = "python -m gcad_jax.export --workdir=DIR --output=FILE"
HELP = f"""\
Make of a trained detector one file that JAX runs without this package.

  {EXAMPLE}

  --workdir   of a finished run, or a detector file in it
              (CATEGORY/detectors/seed_0.npz)
  --output    FILE       zoom, network, calibration and threshold in one
                         program for CPU, CUDA and TPU
              FILE.json  its inputs, results, threshold, versions, parity

  --category=NAME    which, where the run has several
  --seed=N           which, where the run has several; else the first one
  --fpr=0.05         share of good images that may be called anomalous: sets
                     the threshold, from the validation images of the run
  --images=FOLDER    its first {OWN} images are compared too; or a file, or a
                     pattern in quotes

To use it (docs/export.md), with jax and flatbuffers installed:

  import jax, jax.export
  detect = jax.jit(jax.export.deserialize(open("FILE", "rb").read()).call)
  found = detect(images)    # uint8 (b, h, w, 3), any b, h and w
  found["score"], found["anomalous"], found["p_value"], found["anomaly_map"]

Before it is written, what it says is compared with python -m gcad_jax.predict
on the CPU; a difference above 1e-4 of the range of a map is an error.

A jax up to 6 months newer or 3 weeks older than this one can load it; keep
the detector file, from which it can be exported again.

{SHARED_HELP}
Exit codes: 0 done; 2 a mistake in flags or files, said in one sentence;
130 stopped by Ctrl-C; 1 anything else (a bug: please report it).
"""


def run() -> None:
    """Entry point: flags checked, then `main`."""
    shared_flags.run(main, parse)


if __name__ == "__main__":
    run()
