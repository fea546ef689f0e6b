"""launch/gke.sh: its manifests against the schemas of Kubernetes, and their tasks."""

import re

import kubernetes_validate
import pytest
import yaml
from helpers import launch_scripts
from helpers.launch_scripts import (
    DATA,
    GPU,
    STUDY,
    TPU,
    calls,
    container,
    main_commands,
    make_cluster,
    manifest,
    on_cluster,
    run,
    task_of,
)


@pytest.fixture
def cluster(tmp_path):
    return make_cluster(tmp_path)


def jobset(*arguments, **env):
    found = launch_scripts.jobset(*arguments, **env)
    check_jobset(found)
    return found


def sweep(*flags, **env):
    return manifest("--sweep", "gcad", "image", "configs/loco.py", "/r", *flags, **env)


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
