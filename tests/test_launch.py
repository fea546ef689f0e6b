"""The scripts in launch/, as far as they can be tried without a cluster.

Their dry runs are taken apart and the command in them is checked by the program's own
parser; `srun`, `scontrol`, `gcloud`, `kubectl` are stubs that write down how they were
called; the manifests are held against the schemas of Kubernetes.
"""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
import time

import commands
import kubernetes_validate
import pytest
import runs
import yaml

from gcad_jax.data.tables import LOCO

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


# Sweeps: the index is decoded.


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


def task_of(arguments):
    """Category and seed of a task, after checking that all flags say the same."""
    flags = dict(argument.split("=", 1) for argument in arguments)
    category, seed = re.fullmatch(r"/r/(\w+)/seed_(\d+)", flags["--workdir"]).groups()
    assert flags["--config.data.categories"] == f"('{category}',)"
    assert flags["--config.seeds"] == f"({seed},)"
    assert flags["--num_processes"] == "1"
    return category, int(seed)


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


# SLURM, with stubs.


@pytest.fixture
def cluster(tmp_path):
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


# TPU VM.


def tpu_command(*arguments):
    """What the hosts are told to run."""
    words = split(dry("tpu_vm.sh", "pod", "us-west4-a", *arguments))
    assert words[:8] == [
        *("gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod"),
        *("--zone=us-west4-a", "--worker=all"),
    ]
    [command] = words[8:]
    return command.removeprefix("--command=")


@pytest.fixture
def host(cluster):
    """A host of a TPU VM: gcloud runs the command there, in a home of its own."""
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


# Kubernetes.


def manifest(*arguments, **env):
    text = dry("gke.sh", *arguments, **env)
    assert "${" not in text
    return yaml.safe_load(text)


def jobset(config, workdir, *flags, **env):
    found = manifest("gcad", "image", config, workdir, *flags, **env)
    check_jobset(found)
    return found


def sweep(*flags, **env):
    return manifest("--sweep", "gcad", "image", "configs/loco.py", "/r", *flags, **env)


def container(job):
    [found] = job["spec"]["template"]["spec"]["containers"]
    return found


def check_jobset(found):
    """The fields of a JobSet, after its API (jobset.x-k8s.io/v1alpha2)."""
    assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
    assert (found["apiVersion"], found["kind"]) == (
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
    )
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", found["metadata"]["name"])
    spec = found["spec"]
    assert set(spec) <= {
        *("replicatedJobs", "network", "successPolicy", "failurePolicy"),
        *("startupPolicy", "suspend", "coordinator", "managedBy"),
        *("ttlSecondsAfterFinished",),
    }
    policy = spec["failurePolicy"]
    assert set(policy) <= {"maxRestarts", "restartStrategy", "rules"}
    assert type(policy["maxRestarts"]) is int
    assert policy["restartStrategy"] in ("Recreate", "BlockingRecreate")
    actions = {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"}
    for rule in policy["rules"]:
        assert set(rule) <= {
            *("name", "action", "onJobFailureReasons", "onJobFailureMessagePatterns"),
            "targetReplicatedJobs",
        }
        assert re.fullmatch("[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])
        assert rule["action"] in actions
        assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    names = [job["name"] for job in spec["replicatedJobs"]]
    assert len(set(names)) == len(names)
    for job in spec["replicatedJobs"]:
        assert set(job) <= {"name", "groupName", "template", "replicas", "dependsOn"}
        assert type(job["replicas"]) is int
        assert set(job["template"]) <= {"metadata", "spec"}


@pytest.mark.parametrize("env", [TPU, GPU], ids=["tpu", "gpu"])
def test_the_job_of_a_jobset_is_one(env):
    [job] = jobset(*STUDY, **env)["spec"]["replicatedJobs"]
    valid_job(job["template"], "1.31")
    assert job["template"]["spec"]["completionMode"] == "Indexed"


@pytest.mark.parametrize("env", [{}, {**GPU, "CHIPS": "1"}], ids=["tpu", "gpu"])
def test_the_job_of_a_sweep_is_one(env):
    valid_job(sweep(DATA, **env), "1.33")


def valid_job(job, version):
    head = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "gcad"}}
    kubernetes_validate.validate({**head, **job}, version, strict=True)


def test_the_schema_notices_a_field_that_there_is_not():
    job = sweep()
    job["spec"]["backoffLimitPerIndx"] = 3
    with pytest.raises(
        kubernetes_validate.ValidationError, match="backoffLimitPerIndx"
    ):
        valid_job(job, "1.33")


def test_machines_of_a_jobset():
    [job] = jobset(*STUDY, **TPU, SLICES="2", HOSTS="8")["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert job["replicas"] == 2
    assert job["template"]["spec"]["completions"] == 8
    assert job["template"]["spec"]["parallelism"] == 8
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    assert container(job["template"])["resources"]["limits"] == {"google.com/tpu": 4}
    found = jobset(*STUDY, **GPU)
    [job] = found["spec"]["replicatedJobs"]
    words = container(job["template"])["command"]
    # As JobSet calls the first pod: JOBSET-JOB-0-0, in the subdomain JOBSET.
    name = found["metadata"]["name"]
    host = f"{name}-{job['name']}-0-0.{name}"
    assert f"--coordinator={host}:8476" in words
    assert f"--num_processes={job['template']['spec']['completions']}" in words
    assert container(job["template"])["resources"]["limits"] == {"nvidia.com/gpu": 8}
    assert not found["metadata"]["annotations"]


def test_what_becomes_of_a_jobset_whose_pods_fail():
    """A mistake fails it; what was taken back restarts it, however often."""
    spec = jobset(*STUDY)["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    assert (job["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert pod["terminationGracePeriodSeconds"] == 300
    assert pod["shareProcessNamespace"] is True
    for code, disrupted, action in (
        (2, False, "FailJobSet"),
        (143, False, "RestartJobSetAndIgnoreMaxRestarts"),
        (143, True, "RestartJobSetAndIgnoreMaxRestarts"),
        (137, True, "RestartJobSetAndIgnoreMaxRestarts"),
        (137, False, "RestartJobSet"),
        (1, False, "RestartJobSet"),
    ):
        rule = first_rule(job, code, disrupted)
        # As Kubernetes words it.
        message = f"... matching FailJob rule at index {rule}"
        matching = [
            one["action"]
            for one in spec["failurePolicy"]["rules"]
            if rule is not None
            and any(re.search(p, message) for p in one["onJobFailureMessagePatterns"])
        ]
        assert (matching or ["RestartJobSet"])[0] == action, (code, disrupted)


def test_what_becomes_of_a_task_whose_pod_fails():
    """A mistake fails the task; what was taken back is free; a crash is counted."""
    spec = sweep()["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["backoffLimitPerIndex"] == 3
    for code, disrupted, action in (
        (2, False, "FailIndex"),
        (143, False, "Ignore"),
        (137, True, "Ignore"),
        (1, False, None),
    ):
        rule = first_rule(spec, code, disrupted)
        rules = spec["podFailurePolicy"]["rules"]
        assert (None if rule is None else rules[rule]["action"]) == action


def first_rule(job, code, disrupted):
    """Number of the rule of podFailurePolicy that matches, as Kubernetes finds it."""
    name = job["template"]["spec"]["containers"][0]["name"]
    for number, rule in enumerate(job["podFailurePolicy"]["rules"]):
        if codes := rule.get("onExitCodes"):
            assert codes["containerName"] == name
            assert codes["operator"] == "In"
            if code in codes["values"]:
                return number
        elif disrupted:
            [condition] = rule["onPodConditions"]
            assert condition == {"type": "DisruptionTarget", "status": "True"}
            return number
    return None


def test_the_pods_of_a_sweep_are_its_tasks():
    job = sweep(DATA, CATEGORIES="screw cable", SEEDS="0 1 2", PARALLELISM="4")
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (6, 4)
    words = container(job)["command"]
    env = {one["name"]: one["value"] for one in container(job)["env"]}
    found = []
    for index in range(6):
        done = run(
            words[0].removeprefix("launch/"),
            *("--dry-run", *words[1:]),
            JOB_COMPLETION_INDEX=str(index),
            **env,
        )
        found.append(task_of(main_commands(done.stdout)[0][:-1]))
    assert found == [(name, seed) for name in ("screw", "cable") for seed in range(3)]
    # When none are named, those of task.sh.
    assert sweep()["spec"]["completions"] == 25


def test_kubectl_gets_what_the_dry_run_prints(cluster):
    arguments = ("gcad", "image", *STUDY, 'a "quoted" \\ word & more')
    done = on_cluster(cluster, "gke.sh", *arguments)
    assert done.returncode == 0, done.stderr
    assert calls(cluster, "kubectl") == [["apply", "--filename=-"]]
    assert yaml.safe_load((cluster / "manifest").read_text()) == manifest(*arguments)


def test_a_mistyped_option_of_gke():
    done = run("gke.sh", "--dryrun", "gcad", "image", *STUDY)
    assert done.returncode == 2
    assert "--dryrun is unknown" in done.stderr


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
