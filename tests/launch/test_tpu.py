"""launch/tpu_vm.sh and tpu_host.sh with a `gcloud` that runs here what it is told."""

import os
import signal
import subprocess

import pytest
from helpers.launch_scripts import LAUNCH, calls, make_cluster, on_cluster, stub


@pytest.fixture
def host(tmp_path):
    """A host of a TPU VM: gcloud runs the command there, in a home of its own."""
    cluster = make_cluster(tmp_path)
    home = cluster / "home" / "gcad_jax"
    (home / ".venv" / "bin").mkdir(parents=True)
    (home / "launch").symlink_to(LAUNCH)
    stub(cluster, "gcloud", 'command=${!#}; bash -c "${command#--command=}"')
    (cluster / "bin" / "python").rename(home / ".venv" / "bin" / "python")
    return cluster


def on_host(host, *arguments):
    return on_cluster(host, *arguments, HOME=str(host / "home"))


def test_the_hosts_get_every_flag_as_it_was_typed(host):
    typed = (
        "--config.data.categories=('juice_bottle',)",
        "--config.seeds=(0, 1)",
        "a b$c",
    )
    (host / "status").write_text("2")
    done = on_host(
        host, "tpu_vm.sh", "pod", "zone", "configs/loco.py", "gs://b/r", *typed
    )
    assert done.returncode == 2, done.stderr
    flags = ["--config=configs/loco.py", "--workdir=gs://b/r", *typed]
    assert calls(host, "python") == [["-m", "gcad_jax.main", *flags]]


def test_a_run_outlives_its_connection_and_is_found_again(host):
    checkout = host / "home" / "gcad_jax"
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(
        f"#!/bin/bash\necho call >>{host}/python.calls\n"
        'trap "echo saved; exit 143" TERM; echo started; sleep 60 & wait\n'
    )
    start = [LAUNCH / "tpu_host.sh", "python", "-m", "gcad_jax.main"]
    connection = {"cwd": checkout, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(start, start_new_session=True, **connection) as first:
        assert first.stdout.readline() == "started\n"
        os.killpg(first.pid, signal.SIGKILL)  # the connection is lost
    with subprocess.Popen(start, **connection) as again:
        assert again.stdout.readline() == "started\n"
        subprocess.run([LAUNCH / "tpu_host.sh", "--stop"], cwd=checkout, check=True)
        assert again.communicate(timeout=30)[0] == "saved\n"
    assert again.returncode == 143
    assert calls(host, "python") == [["call"]]
    # Nothing runs any more, so the next call starts anew.
    subprocess.run([LAUNCH / "tpu_host.sh", "--stop"], cwd=checkout, check=True)
    python.write_text("#!/bin/bash\necho anew\n")
    done = subprocess.run(start, cwd=checkout, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "anew\n")


def test_the_first_call_installs(host):
    (host / "home" / "gcad_jax" / ".venv" / "bin" / "python").unlink()
    stub(host, "python3", "")
    stub(host, "python", "")
    on_host(host, "tpu_vm.sh", "pod", "zone", "configs/loco.py", "gs://b/r")
    pip, venv, install = calls(host, "python3")
    assert pip[:3] == ["-m", "pip", "install"]
    assert venv[:3] == ["-m", "uv", "venv"]
    assert install[-2:] == ["-e", ".[tpu,gcs]"]
