"""The scripts in launch/ called without a cluster, and stubs that stand for one."""

import os
import re
import shlex
import subprocess

import yaml
from helpers import commands, runs

LAUNCH = runs.ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
DATA = "--config.data.root=/data"
STUDY = ("configs/study_benchmark.py", "/r", "--config.loco.data.root=/data")
TPU = {"ACCELERATOR": "tpu-v5-lite-podslice", "TOPOLOGY": "4x4"}
GPU = {"ACCELERATOR": "nvidia-h100-80gb", "TOPOLOGY": "", "CHIPS": "8", "HOSTS": "2"}


def run(script, *arguments, cwd=runs.ROOT, **env):
    """A script in an environment without a cluster."""
    program = [str(LAUNCH / script)]
    if script.endswith(".sbatch"):
        program.insert(0, "bash")
    return subprocess.run(
        [*program, *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def dry(script, *arguments, **env):
    """What a dry run prints."""
    done = run(script, "--dry-run", *arguments, **env)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def main_commands(printed):
    """The arguments of the main command in each line."""
    return [a for line in printed.splitlines() for a in commands.of_module(split(line))]


def split(line):
    return shlex.split(line)


def task_of(arguments):
    """Category and seed of a task, after checking that all flags say the same."""
    flags = dict(argument.split("=", 1) for argument in arguments)
    category, seed = re.fullmatch(r"/r/(\w+)/seed_(\d+)", flags["--workdir"]).groups()
    assert flags["--config.data.categories"] == f"('{category}',)"
    assert flags["--config.seeds"] == f"({seed},)"
    assert flags["--num_processes"] == "1"
    return category, int(seed)


def make_cluster(tmp_path):
    """A checkout with stubs on the path; `python` ends with the code in `status`."""
    (tmp_path / "launch").symlink_to(LAUNCH)
    stub(tmp_path, "scontrol", "")
    stub(tmp_path, "kubectl", 'cat >"$HERE/manifest"')
    # As SLURM does, after its own options.
    stub(tmp_path, "srun", 'while [[ "$1" == -* ]]; do shift; done; "$@"')
    stub(tmp_path, "python", 'exit "$(cat "$HERE/status")"')
    activate = tmp_path / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    (tmp_path / "status").write_text("0")
    return tmp_path


def stub(folder, name, body):
    """A program that writes down its arguments, a line a call, and then does `body`."""
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        "#!/usr/bin/env bash\n"
        f'printf \'%q \' "$@" >>"$HERE/{name}.calls"\necho >>"$HERE/{name}.calls"\n'
        f"{body}\n"
    )
    file.chmod(0o755)


def calls(folder, name):
    file = folder / f"{name}.calls"
    return (
        [split(line) for line in file.read_text().splitlines()] if file.exists() else []
    )


def on_cluster(cluster, script, *arguments, **env):
    path = f"{cluster / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return run(script, *arguments, cwd=cluster, PATH=path, HERE=str(cluster), **env)


def tpu_command(*arguments):
    """What the hosts are told to run."""
    words = split(dry("tpu_vm.sh", "pod", "us-west4-a", *arguments))
    assert words[:8] == [
        *("gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod"),
        *("--zone=us-west4-a", "--worker=all"),
    ]
    [command] = words[8:]
    return command.removeprefix("--command=")


def manifest(*arguments, **env):
    text = dry("gke.sh", *arguments, **env)
    assert "${" not in text
    return yaml.safe_load(text)


def jobset(config, workdir, *flags, **env):
    return manifest("gcad", "image", config, workdir, *flags, **env)


def container(job):
    [found] = job["spec"]["template"]["spec"]["containers"]
    return found
