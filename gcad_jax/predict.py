"""python -m gcad_jax.predict --workdir=DIR --images=FOLDER --output=OUT

Scores images with the detector of a finished run, and marks what is wrong in them.
"""

import sys

from absl import flags

from gcad_jax.cli.command import DETECTOR_FLAGS, Command
from gcad_jax.core.machine.memory import keep_freed_memory

SKIPPED = 4  # exit code: done, but for images that could not be read
NAMED = 5  # of them in the sentence at the end; all are in predict.json

COMMAND = Command(
    name="predict",
    summary="Score images with a trained detector, and mark what is wrong in them.",
    required={
        "--workdir=DIR": """
        of a finished run, or a detector file in it
        (CATEGORY/detectors/seed_0.npz), which needs nothing beside it
        """,
        "--images=FOLDER": """
        a folder, searched with its sub-folders, a file, a pattern in quotes, or
        several of these with commas between; any sizes
        """,
        "--output=OUT": """
        a folder. Files of the same names are replaced; others stay:
          scores.csv    score and decision of each image
          predict.json  threshold and what it means
          anomaly_maps/CATEGORY/test/NAME.tiff  scores of the pixels,
                        float32, at the size of the image
          overlays/NAME.png  input, heat map, contour
        """,
    },
    instead={"workdir": "model"},
    optional={
        "--model=FILE.onnx": """
        in place of --workdir: an ONNX file of python -m gcad_jax.export, which ONNX
        Runtime computes on the CPU
        """,
        **DETECTOR_FLAGS,
        "--branches": "overlays also show the maps of the branches",
        "--nomaps": "leave the anomaly maps out",
        "--nooverlays": "leave the overlays out",
        "--batch_size=COUNT": "images that the device computes at once",
        "--programs=FOLDER": """
        where compiled programs are kept, so that the next call starts faster;
        "none" keeps none. Else the folder of JAX_COMPILATION_CACHE_DIR, or
        gcad_jax/programs in that of XDG_CACHE_HOME (~/.cache)
        """,
    },
    notes="""
    An image is scored at the size of the network. Pixels inside the contour score above
    the threshold; a peak of few pixels may lose its contour in the zoom. Colors are the
    same for all images: half way up is the threshold. Where a method decides by an
    image score of its own, which is named then, contour and colors are of the map's own
    threshold.
    """,
    exit_codes={
        SKIPPED: "done, but images that cannot be read were skipped, and are named"
    },
    stray="put a pattern of --images in quotes",
    interrupted="stopped; {output} has no scores.csv yet.",
)


def main(given: flags.FlagValues) -> None:
    """Predicts; images that could not be read are named at the end."""
    from gcad_jax.inference.predict_folder import OutputOptions, predict_folder

    summary = predict_folder(
        given.workdir or given.model,
        given.images,
        given.output,
        OutputOptions(given.fpr, given.maps, given.overlays, given.branches),
        given.category,
        given.seed,
        given.batch_size,
        given.programs,
    )
    if skipped := summary.skipped:
        reasons = " ".join(map(str, skipped[:NAMED]))
        if len(skipped) > NAMED:
            reasons += f" And {len(skipped) - NAMED} more, see predict.json."
        total = summary.images + len(skipped)
        print(
            f"error: {len(skipped)} of {total} images were skipped: {reasons}",
            file=sys.stderr,
        )
        sys.exit(SKIPPED)


if __name__ == "__main__":
    keep_freed_memory()
    COMMAND.run(main)
