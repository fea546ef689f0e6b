"""python -m gcad_jax.evaluate --object_name=pushpins --dataset_base_dir=D ...

Scores a folder of anomaly maps, whatever wrote them, with the flags, the folders and
the metrics.json of the official evaluation program of MVTec LOCO AD.
"""

import os

from absl import flags

from gcad_jax.cli.command import Command
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError

COMMAND = Command(
    name="evaluate",
    summary="Score anomaly maps, of any framework, by AU-sPRO and AU-ROC.",
    required={
        "--object_name=NAME": "the category, a folder of --dataset_base_dir",
        "--dataset_base_dir=DIR": """
        the data set. MVTec LOCO AD's layout:
          NAME/defects_config.json
          NAME/ground_truth/KIND/IMAGE/*.png   one region a file
        or MVTec AD's:
          NAME/ground_truth/DEFECT/IMAGE_mask.png
        Test images are not needed; where NAME/test/good is there, it says which
        good images must have a map
        """,
        "--anomaly_maps_dir=DIR": """
        NAME/test/{good,KIND or DEFECT}/IMAGE.tiff (or .tif): real numbers, larger
        is more anomalous, not resized. Several folders, A,B,...: one ground truth
        for all, results in A, B, ... of --output_dir
        """,
        "--output_dir=DIR": """
        where metrics.json (the official schema), details.json (by defect type,
        image), curves.png and curves.pdf go
        """,
    },
    optional={
        "--num_parallel_workers=COUNT": "threads; else one a core, up to 8",
        "--niceness=N": "gives way to other processes",
        "--curve_max_distance=X": """
        accepted for scripts of the official program; has no effect, since
        thresholds are not sampled
        """,
    },
    exit_codes={
        2: """
        a mistake in flags, ground truth or maps, said in one sentence, and nothing
        written
        """
    },
)


def main(given: flags.FlagValues) -> None:
    """Evaluates each folder of maps."""
    from gcad_jax.runs.score_maps import evaluate_each, output_folders

    if given.curve_max_distance is not None:
        print_line("--curve_max_distance has no effect: thresholds are not sampled.")
    try:
        if given.niceness:
            os.nice(given.niceness)
        evaluate_each(
            given.object_name,
            given.dataset_base_dir,
            output_folders(given.anomaly_maps_dir, given.output_dir),
            given.num_parallel_workers,
        )
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}.") from error


if __name__ == "__main__":
    COMMAND.run(main)
