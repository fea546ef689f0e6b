"""python -m gcad_jax.evaluate --object_name=pushpins --dataset_base_dir=D ...

Scores a folder of anomaly maps, whatever wrote them, with the flags, the folders and
the metrics.json of the official evaluation program of MVTec LOCO AD.
"""

import os
import sys

from absl import flags
from etils import epath

from gcad_jax.cli import shared_flags
from gcad_jax.cli.shared_flags import SHARED_HELP, fail, parse_all
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path

REQUIRED = ("object_name", "dataset_base_dir", "anomaly_maps_dir", "output_dir")
for _name in REQUIRED:
    flags.DEFINE_string(_name, None, "See --help.")
WORKERS = flags.DEFINE_integer("num_parallel_workers", None, "See --help.", 1)
DISTANCE = flags.DEFINE_float("curve_max_distance", None, "See --help.")
NICENESS = flags.DEFINE_integer("niceness", 0, "See --help.")
OPTIONAL = ("num_parallel_workers", "curve_max_distance", "niceness")

EXAMPLE = (
    "python -m gcad_jax.evaluate --object_name=pushpins --dataset_base_dir=DIR "
    "--anomaly_maps_dir=DIR --output_dir=DIR"
)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake is one sentence and exit code 2."""
    return parse_all(argv, REQUIRED, HELP, EXAMPLE, "flags begin with --", OPTIONAL)


def main(_: list[str]) -> None:
    """Evaluates; a user's mistake is one sentence and exit code 2."""
    # Imported here, so that --help and a mistyped flag answer at once.
    from gcad_jax.runs.score_maps import evaluate_each

    if DISTANCE.value is not None:
        print_line("--curve_max_distance has no effect: thresholds are not sampled.")
    try:
        if NICENESS.value:
            os.nice(NICENESS.value)
        given = flags.FLAGS
        evaluate_each(
            given.object_name,
            given.dataset_base_dir,
            outputs(given.anomaly_maps_dir, given.output_dir),
            WORKERS.value,
        )
    except UserError as error:
        fail(error, 2)
    except OSError as error:
        if error.filename is None:
            raise
        fail(UserError(f"{error.filename}: {error.strerror}."), 2)


def outputs(anomaly_maps_dir: str, output_dir: str) -> dict[epath.Path, epath.Path]:
    """Output folder -> folder of maps, of which there may be several: A,B,...

    The results of A go to `output_dir`/A. A folder may have a comma in its name.

    Raises:
      UserError: two folders of one name, or none between two commas.
    """
    output, maps = as_path(output_dir), anomaly_maps_dir.split(",")
    if len(maps) == 1 or os.path.isdir(os.path.expanduser(anomaly_maps_dir)):
        return {output: as_path(anomaly_maps_dir)}
    folders: dict[epath.Path, epath.Path] = {}
    for folder in map(as_path, maps):
        of_folder = output / folder.name
        if folder.name in ("", "..") or of_folder in folders:
            raise UserError(
                f"--anomaly_maps_dir={anomaly_maps_dir} has {str(folder)!r} among its "
                "folders; each needs a name of its own, which its results get in "
                "--output_dir."
            )
        folders[of_folder] = folder
    return folders


def run() -> None:
    """Entry point."""
    shared_flags.run(main, parse)


HELP = f"""\
Score anomaly maps, of any framework, by AU-sPRO and AU-ROC.

  python -m gcad_jax.evaluate --object_name=pushpins --dataset_base_dir=DATA \\
      --anomaly_maps_dir=MAPS --output_dir=OUT

  --object_name        the category, a folder of --dataset_base_dir
  --dataset_base_dir   the data set. MVTec LOCO AD's layout:
                         NAME/defects_config.json
                         NAME/ground_truth/KIND/IMAGE/*.png   one region a file
                       or MVTec AD's:
                         NAME/ground_truth/DEFECT/IMAGE_mask.png
                       Test images are not needed; where NAME/test/good is
                       there, it says which good images must have a map
  --anomaly_maps_dir   NAME/test/{{good,KIND or DEFECT}}/IMAGE.tiff (or .tif):
                       real numbers, larger is more anomalous, not resized.
                       Several folders, A,B,...: one ground truth for all,
                       results in A, B, ... of --output_dir
  --output_dir         where metrics.json (the official schema), details.json
                       (by defect type, image), curves.png and curves.pdf go

  --num_parallel_workers=N   threads; else one a core, up to 8
  --niceness=N               gives way to other processes
  --curve_max_distance=X     accepted for scripts of the official program; has
                             no effect, since thresholds are not sampled

{SHARED_HELP}
Exit codes: 0 done; 2 a mistake in flags, ground truth or maps, said in one
sentence, and nothing written; 130 stopped by Ctrl-C; 1 anything else (a bug:
please report it).
"""


if __name__ == "__main__":
    run()
    sys.exit(0)
