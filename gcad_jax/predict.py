"""python -m gcad_jax.predict --workdir=DIR --images=FOLDER --output=OUT

Scores images with the detector of a finished run, and marks what is wrong in them.
"""

import sys

from absl import flags

from gcad_jax.cli import shared_flags
from gcad_jax.cli.shared_flags import INTERRUPTED, SHARED_HELP, fail, parse_all
from gcad_jax.core.atomic_files import check_writable
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path

REQUIRED = ("workdir", "images", "output")
SKIPPED = 4  # exit code: done, but for images that could not be read
TOO_LARGE = (
    "the memory of the device does not hold the images of one call; give a lower "
    "--batch_size."
)
NAMED = 5  # of them in the sentence at the end; all are in predict.json


def define_flags() -> tuple[str, ...]:
    """Defines the flags; returns the names of those that may be left out.

    When the command runs, because the main command has some of the same names.
    """
    for name in (*REQUIRED, "category"):
        flags.DEFINE_string(name, None, "See --help.")
    flags.DEFINE_integer("seed", None, "See --help.")
    flags.DEFINE_integer("batch_size", None, "See --help.", 1)
    flags.DEFINE_float("fpr", 0.05, "See --help.")
    switches = {"maps": True, "overlays": True, "branches": False}
    for name, value in switches.items():
        flags.DEFINE_boolean(name, value, "See --help.")
    return ("category", "seed", "batch_size", "fpr", *switches)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake is one sentence and exit code 2."""
    stray = "put a pattern of --images in quotes"
    return parse_all(argv, REQUIRED, HELP, EXAMPLE, stray, define_flags())


def main(_: list[str]) -> None:
    """Predicts; a user's mistake is one sentence and exit code 2."""
    # Imported here, so that --help and a mistyped flag answer at once.
    from gcad_jax.core.errors import is_out_of_memory
    from gcad_jax.evaluation.map_files import MAPS
    from gcad_jax.inference import predict_folder
    from gcad_jax.inference.image_inputs import OVERLAYS, find_images
    from gcad_jax.inference.load import load
    from gcad_jax.inference.metadata import as_text

    given = flags.FLAGS
    try:
        output = as_path(given.output).expanduser()
        names = (predict_folder.SCORES, predict_folder.ABOUT)
        check_writable(output, names, "output")
        images = find_images(given.images, output)
        detector = load(
            given.workdir, given.category, given.seed, batch_size=given.batch_size
        )
        detector.limit_batch(len(images))
        wanted = predict_folder.OutputOptions(
            given.fpr, given.maps, given.overlays, given.branches
        )
        for line in as_text(detector.stored, given.fpr):
            print_line(line)
        found = predict_folder.write_predictions(detector, images, output, wanted)
    except UserError as error:
        fail(error, 2)
    except KeyboardInterrupt:
        fail(
            UserError(f"stopped; {output} has no {predict_folder.SCORES} yet."),
            INTERRUPTED,
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        fail(UserError(TOO_LARGE), 2)
    anomalous = f"{found.anomalous} of {found.images} images are anomalous"
    print_line(f"result      {anomalous}", result=True)
    print_line(f"scores      {output / predict_folder.SCORES}", result=True)
    until = f"{found.first_seconds:.1f} s until the first image, with compiling"
    print_line(f"time        {found.seconds:.1f} s; {until}")
    for name, wished in ((MAPS, wanted.maps), (OVERLAYS, wanted.overlays)):
        if wished and found.images:
            print_line(f"{name.removeprefix('anomaly_'):<12}{output / name}")
    if found.skipped:
        told = " ".join(map(str, found.skipped[:NAMED]))
        more = len(found.skipped) - NAMED
        others = f" And {more} more, see {output / predict_folder.ABOUT}." * (more > 0)
        print(
            f"error: {len(found.skipped)} of {len(images)} images were skipped: {told}"
            f"{others}",
            file=sys.stderr,
        )
        sys.exit(SKIPPED)


EXAMPLE = "python -m gcad_jax.predict --workdir=DIR --images=FOLDER --output=OUT"
HELP = f"""\
Score images with a trained detector, and mark what is wrong in them.

  {EXAMPLE}

  --workdir   of a finished run, or a detector file in it
              (CATEGORY/detectors/seed_0.npz), which needs nothing beside it
  --images    a folder, searched with its sub-folders, a file, a pattern in
              quotes, or several of these with commas between; any sizes
  --output    OUT/scores.csv                score and decision of each image
              OUT/predict.json              threshold and what it means
              OUT/anomaly_maps/CATEGORY/test/NAME.tiff   scores of the pixels,
                                            float32, at the size of the image
              OUT/overlays/NAME.png         input, heat map, contour
              Files of the same names are replaced; others stay

  --category=NAME    which, where the run has several
  --seed=N           which, where the run has several; else the first one
  --fpr=0.05         share of good images that may be called anomalous: sets
                     the threshold, from the validation images of the run
  --branches         overlays also show the maps of the branches
  --nomaps, --nooverlays    leave these out
  --batch_size=N     images that the device computes at once

An image is scored at the size of the network. Pixels inside the contour score
above the threshold; a peak of few pixels may lose its contour in the zoom.
Colors are the same for all images: half way up is the threshold.

{SHARED_HELP}
Exit codes: 0 done; 2 a mistake in flags or files, said in one sentence;
4 done, but images that cannot be read were skipped, and are named; 130
stopped by Ctrl-C; 1 anything else (a bug: please report it).
"""


def run() -> None:
    """Entry point."""
    shared_flags.run(main, parse)


if __name__ == "__main__":
    run()
