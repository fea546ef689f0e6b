"""The scripts in launch/, as far as they can be tried without a cluster.

The commands of their dry runs are checked by the program's own parser; a sweep is
decoded as each of its tasks does. Those of SLURM, TPU VMs and GKE have files beside.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sysconfig

import pytest
from helpers import commands, runs
from helpers.launch_scripts import (
    DATA,
    GPU,
    LAUNCH,
    SCRIPTS,
    STUDY,
    TPU,
    container,
    dry,
    jobset,
    main_commands,
    run,
    task_of,
    tpu_command,
)

from gcad_jax.data.mvtec.facts import LOCO


@pytest.mark.parametrize(
    "script", [*SCRIPTS, runs.ROOT / ".ci" / "run"], ids=lambda script: script.name
)
def test_shellcheck(script):
    # Beside the Python of the tests, or anywhere.
    paths = [sysconfig.get_path("scripts"), os.environ["PATH"]]
    program = shutil.which("shellcheck", path=os.pathsep.join(paths))
    assert program, "shellcheck comes with pip install -e '.[test]'"
    done = subprocess.run([program, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_headers_say_how_to_call_them(script):
    first, *rest = script.read_text().splitlines()
    assert first == "#!/usr/bin/env bash"
    header = "\n".join(rest[: rest.index("set -euo pipefail")])
    assert f"launch/{script.name} " in header
    assert max(map(len, rest)) <= 88
    assert os.access(script, os.X_OK) == (script.suffix == ".sh")


def test_every_command_of_a_dry_run_is_one_that_the_program_takes():
    sweep = ("configs/loco.py:throughput", "/r", DATA, "--config.epochs=100")
    printed = [
        dry("task.sh", *sweep).splitlines()[0],
        dry("slurm.sbatch", *sweep).splitlines()[-1],
        dry("slurm_study.sbatch", *STUDY),
        dry("measure.sh", "/out"),
        dry("slurm_nodes.sbatch", *STUDY, "--config.seeds=(0,1,2,3)"),
        tpu_command("configs/loco.py", "gs://b/run", DATA),
        tpu_command(*STUDY),
    ]
    found = [main_commands(text) for text in printed]
    assert [len(one) for one in found] == [1] * len(found)
    manifests = [jobset(*sweep, **TPU), jobset(*STUDY, **GPU)]
    for manifest in manifests:
        words = container(manifest["spec"]["replicatedJobs"][0]["template"])["command"]
        # As Kubernetes fills it in.
        words = [word.replace("$(PROCESS_ID)", "1") for word in words]
        found.append(commands.of_module(words))
    commands.check([arguments for one in found for arguments in one])


def test_a_field_that_is_renamed_is_noticed():
    with pytest.raises(AssertionError, match="is unknown"):
        commands.check(
            [["--config=configs/loco.py", "--workdir=x", "--config.epoch=3"]]
        )


def test_every_category_and_seed_is_one_task():
    found = []
    for index in range(25):
        line = dry("task.sh", "configs/loco.py", "/r", SLURM_ARRAY_TASK_ID=str(index))
        [arguments] = main_commands(line)
        found.append(task_of(arguments))
    assert found == [(name, seed) for name in LOCO for seed in range(5)]
    every = dry("slurm.sbatch", "configs/loco.py", "/r")
    assert [task_of(a) for a in main_commands(every)] == found
    assert run("task.sh", "--count").stdout == "25\n"


def test_categories_and_seeds_can_be_chosen():
    chosen = {"CATEGORIES": "hazelnut screw cable", "SEEDS": "3 8"}
    found = [
        task_of(
            main_commands(dry("task.sh", "c", "/r", JOB_COMPLETION_INDEX=i, **chosen))[
                0
            ]
        )
        for i in "012345"
    ]
    names = chosen["CATEGORIES"].split()
    assert found == [(name, seed) for name in names for seed in (3, 8)]
    done = run("task.sh", "c", "/r", JOB_COMPLETION_INDEX="6", **chosen)
    assert (done.returncode, done.stderr) == (
        2,
        "error: there is no task 6; there are 0 to 5\n",
    )


def test_a_task_without_an_index_does_not_start():
    done = run("task.sh", "configs/loco.py", "/r")
    assert done.returncode == 2
    assert "no index" in done.stderr
    assert run("slurm.sbatch", "configs/loco.py", "/r").returncode != 0


def test_the_image_has_what_the_manifests_call():
    text = (LAUNCH / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (.*) \S+$", text, re.M)
    names = [name for line in copied for name in line.split()]
    assert all((runs.ROOT / name).exists() for name in names if name != "gcad_jax")
    assert {"gcad_jax", "configs", "launch"} <= set(names)


def test_extras_that_are_installed_exist():
    setup = (runs.ROOT / "setup.py").read_text()
    pages = [*SCRIPTS, LAUNCH / "Dockerfile", runs.ROOT / "docs" / "scale.md"]
    for page in filter(pathlib.Path.exists, pages):
        for extras in re.findall(r"\.\[([\w,]+)\]", page.read_text()):
            for extra in extras.split(","):
                assert f'"{extra}": [' in setup, (page.name, extra)
