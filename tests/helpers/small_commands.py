"""Command lines of small runs of the config files, and what such a command leaves."""

import json
import pathlib
import subprocess

from helpers import runs

SMALL = [
    "--config.image_size=32",
    "--config.batch_size=2",
    "--config.num_devices=1",
    "--config.log_every=1",
    "--config.figure_images=1",
    "--config.method.P=(17,)",
    "--config.method.d_loc=4",
    "--config.method.teacher=random",
    "--config.method.width=0.0625",
    "--config.method.E_loc_width=0.0625",
    "--config.method.E_glo_widths=(32,32,64,64,128)",
    "--config.method.U_widths=(64,128)",
    "--config.method.inference_batch_size=4",
]
ONE_PHASE = ["--config.method.R_glo_start=0.0", "--config.method.skip_end=0.0"]
CIRCLES = [
    "--config=configs/circles.py",
    *SMALL,
    "--config.method.stride=1",  # 32 pixels are halved five times by E_glo
    # Phases begin at steps 0, 30 and 60: kills fall into each of them.
    "--config.method.R_glo_start=0.5",
    "--config.method.skip_end=0.25",
    "--config.epochs=20",
    "--config.data.num_train=12",
    "--config.data.num_validation=3",
    "--config.data.num_test=2",
    "--config.data.side=32",
    "--config.data.radius=5",
    "--config.data.region_radius_min=2",
    "--config.data.region_radius_max=4",
    "--config.data.min_distance=14",
]
STEPS = 20 * 12 // 2
TINY_CIRCLES = [*[a for a in CIRCLES if "data." in a], "--config.log_every=1"]


def succeeded(
    arguments: list[str], folder: pathlib.Path
) -> subprocess.CompletedProcess[str]:
    done = runs.command([*arguments, f"--workdir={folder}"])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())
