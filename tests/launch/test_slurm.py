"""launch/*.sbatch with stubs of `srun` and `scontrol` that write down their calls."""

import os
import re
import signal
import subprocess
import time

import pytest
from helpers.launch_scripts import LAUNCH, STUDY, calls, make_cluster, on_cluster, stub


@pytest.fixture
def cluster(tmp_path):
    return make_cluster(tmp_path)


ARRAY = {"SLURM_JOB_ID": "71", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "7"}
ALONE = {"SLURM_JOB_ID": "71"}


@pytest.mark.parametrize(
    ("script", "job", "name"),
    [
        ("slurm.sbatch", ARRAY, "70_7"),
        ("slurm_study.sbatch", ARRAY, "70_7"),
        ("slurm_study.sbatch", ALONE, "71"),
        ("slurm_nodes.sbatch", ALONE, "71"),
    ],
)
@pytest.mark.parametrize("status", [0, 1, 2, 143])
def test_a_job_is_put_back_into_the_queue_after_it_has_saved(
    cluster, script, job, name, status
):
    (cluster / "status").write_text(str(status))
    done = on_cluster(cluster, script, *STUDY, **job)
    assert done.returncode == status, done.stderr
    [python] = calls(cluster, "python")
    assert python[:2] == ["-m", "gcad_jax.main"]
    assert python[-1] == STUDY[-1]
    [srun] = calls(cluster, "srun")
    if script == "slurm.sbatch":
        assert srun[1:] == ["launch/task.sh", *STUDY]
    assert srun[0] == "--cpus-per-task=8"
    expected = [["requeue", name]] if status == 143 else []
    assert calls(cluster, "scontrol") == expected


def test_a_dry_run_starts_nothing(cluster):
    for script in ("slurm.sbatch", "slurm_study.sbatch", "slurm_nodes.sbatch"):
        done = on_cluster(cluster, script, "--dry-run", *STUDY)
        assert done.returncode == 0
    on_cluster(cluster, "gke.sh", "--dry-run", "gcad", "image", *STUDY)
    for name in ("srun", "python", "scontrol", "kubectl"):
        assert calls(cluster, name) == []


def test_sigterm_reaches_the_command_of_a_task(cluster):
    stub(cluster, "python", 'trap "exit 143" TERM; touch "$HERE/on"; sleep 60 & wait')
    path = f"{cluster / 'bin'}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [LAUNCH / "task.sh", "configs/loco.py", "/r"],
        env={
            **os.environ,
            "PATH": path,
            "HERE": str(cluster),
            "JOB_COMPLETION_INDEX": "0",
        },
        start_new_session=True,
    )
    wait_for((cluster / "on").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    os.killpg(process.pid, signal.SIGKILL)  # its sleep


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    "script", sorted(LAUNCH.glob("*.sbatch")), ids=lambda s: s.name
)
def test_options_of_a_job(script):
    """It is told before its time is over, and its log is continued."""
    text = script.read_text()
    options = set(re.findall(r"^#SBATCH (\S+)$", text, re.M))
    assert {"--requeue", "--signal=TERM@120", "--open-mode=append"} <= options
    # SLURM reads them up to the first command.
    assert text.rindex("#SBATCH") < text.index("set -euo")
