"""Several processes over loopback do what one does; flags that say who they are."""

import json
import os
import re
import shutil
import signal
import socket
import time

import jax
import numpy as np
import pytest
from helpers import runs

from gcad_jax.core import multihost
from gcad_jax.core.errors import UserError

# A method that compiles in a moment: every process has to.
BODY = """runs.tiny(
    seeds=(0, 1, 2, 3), num_devices=0, layout=preset,
    method=doubles.Scored(epochs=200), checkpoint_minutes=0.02, write_maps=True)"""
STEPS = 200 * 3
# Of each of two processes. By batch, sums over devices and then over processes round
# otherwise than over all devices of one process: there, to the bit, only with one each.
EACH = {"batch": 1, "seed": 2}
# Words of Gloo's threads, which print pieces of one sentence into one another.
GLOO = "[Gloo] Rank is connected to peer ranks. Expected number of connected"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return runs.write_config(tmp_path_factory.mktemp("config"), BODY)


def flags(config, layout, workdir):
    return [f"--config={config}:{layout}", f"--workdir={workdir}"]


@pytest.fixture(scope="module", params=["batch", "seed"])
def one(request, config, tmp_path_factory):
    """(layout, workdir) of one process with as many devices as two."""
    workdir = tmp_path_factory.mktemp("one") / request.param
    devices = 2 * EACH[request.param]
    ended = runs.command(flags(config, request.param, workdir), devices)
    assert ended.returncode == 0, ended.stderr
    return request.param, workdir


def start_two(arguments, devices=1, own=((), ())):
    """Two processes. own: flags that only one of them has."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    joined = [f"--coordinator=localhost:{port}", "--num_processes=2"]
    return [
        runs.start([*arguments, *more, *joined, f"--process_id={i}"], devices)
        for i, more in enumerate(own)
    ]


def ends(processes):
    """Exit code and what each said, in their order."""
    said = [process.communicate(timeout=300) for process in processes]
    return [(p.returncode, *text) for p, text in zip(processes, said, strict=True)]


def kill_one(arguments, stopped):
    """Continued from `stopped`; the second process is killed amid the updates.

    Not amid a save: there it is JAX's own watch that ends the first, after 100 s.
    """
    never = "--config.checkpoint_minutes=1000"
    processes = start_two([*arguments, never])
    said = []
    while not (said and said[-1].startswith("crossing")):  # the last before updates
        said.append(processes[0].stdout.readline())
        assert processes[0].poll() is None, (said, processes[0].communicate())
    time.sleep(1)
    os.kill(processes[1].pid, signal.SIGKILL)
    (code, out, err), _ = ends(processes)
    assert code == 3, (said, out, err)
    assert "another process of this command was lost" in err
    assert any(f"resume      from step {stopped}" in line for line in said)


@pytest.mark.long
def test_two_processes_stopped_killed_and_continued_equal_one(one, config, tmp_path):
    """SIGTERM to the second alone, then SIGKILL to it, then to the end."""
    layout, reference = one
    workdir = tmp_path / "two"
    category = workdir / "circles"
    arguments = flags(config, layout, workdir)

    processes = start_two(arguments, EACH[layout])
    runs.wait_for(lambda: bool(runs.checkpoint_steps(category)), processes[0])
    os.kill(processes[1].pid, signal.SIGTERM)
    for code, out, err in ends(processes):
        assert code == 143, (out, err)
        assert "stopped and saved at step" in err
    stopped = runs.checkpoint_steps(category)[-1]
    assert 0 < stopped < STEPS

    shutil.copytree(workdir, tmp_path / "elsewhere")
    if layout == "batch":  # the same for both
        kill_one(arguments, stopped)
        assert runs.checkpoint_steps(category)[-1] == stopped
    (code, out, err), (second, quiet, err_2) = ends(start_two(arguments, EACH[layout]))
    assert (code, second) == (0, 0), (out, err, err_2)
    assert f"over {2 * EACH[layout]} cpu devices of 2 processes" in out
    assert words(quiet) <= words(GLOO), quiet

    expected, actual = (runs.saved_state(w / "circles") for w in (reference, workdir))
    assert expected.keys() == actual.keys()
    for name, leaf in expected.items():
        np.testing.assert_array_equal(actual[name], leaf, err_msg=name)
    for file in ("metrics.json", "details.json", "metrics.jsonl"):
        assert (category / file).read_text() == (
            reference / "circles" / file
        ).read_text()
    maps = sorted(p.relative_to(reference) for p in reference.rglob("*.tiff"))
    assert len(maps) == 4 * 6  # four seeds of six test images
    for path in maps:
        assert (workdir / path).read_bytes() == (reference / path).read_bytes()
    assert (workdir / "report.md").is_file()
    assert not runs.leftovers(workdir)
    # What two processes saved, one reads and goes on with, in the other layout too.
    other = {"batch": "seed", "seed": "batch"}[layout]
    alone = runs.command(flags(config, other, tmp_path / "elsewhere"), devices=2)
    assert f"resume      from step {stopped}" in alone.stdout, alone.stderr
    ended = runs.saved_state(tmp_path / "elsewhere" / "circles")
    for name, leaf in expected.items():
        np.testing.assert_allclose(ended[name], leaf, rtol=1e-4, atol=1e-4)


def words(text):
    return set(re.findall("[A-Za-z]+", text))


def sentence(err):
    return [line for line in err.splitlines() if "Gloo" not in line][-1]


@pytest.mark.long
def test_a_mistake_is_the_same_sentence_from_every_process(config, tmp_path):
    """The workdir of another config: only the first process looks at it."""
    folder = tmp_path / "circles"
    folder.mkdir()
    (folder / "metrics.json").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps({"seeds": [3]}))
    for code, out, err in ends(start_two(flags(config, "batch", tmp_path))):
        assert code == 2, (out, err)
        assert "holds a run of another config (" in sentence(err)


@pytest.mark.long
@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("--config.log_every=7", "the settings of process 1 are not those of"),
        ("--workdir=", "hosts a workdir that they share"),
    ],
)
def test_what_processes_must_share_is_said(config, tmp_path, field, words):
    """Else they would wait for each other without a word."""
    both = [f"--config={config}:batch"]
    first, other = f"--workdir={tmp_path / 'one'}", f"--workdir={tmp_path / 'two'}"
    if field.startswith("--workdir"):
        processes = start_two(both, 1, [[first], [other]])
    else:
        processes = start_two([*both, first], 1, [[], [field]])
    for code, out, err in ends(processes):
        assert code == 2, (out, err)
        assert words in sentence(err)


@pytest.mark.long
def test_an_error_of_one_process_ends_both(tmp_path):
    """While the second trains, the log of the first cannot be written."""
    body = BODY.replace("method=", "log_every=doubles.failing_log(20), method=")
    config = runs.write_config(tmp_path, body)
    (code, out, err), (other, _, lost) = ends(
        start_two(flags(config, "batch", tmp_path / "run"))
    )
    assert (code, sentence(err)) == (2, "error: the disk is full."), (out, err)
    assert other in (3, -signal.SIGABRT), lost


@pytest.mark.long
def test_a_study_of_two_processes(tmp_path):
    """Each run is one of both; what is finished is skipped by both."""
    body = "doubles.study(preset)"
    config = runs.write_config(tmp_path, body)
    arguments = flags(config, "", tmp_path / "study")
    for again in (False, True):
        (code, out, err), (other, _, err_2) = ends(start_two(arguments))
        assert (code, other) == (0, 0), (out, err, err_2)
        assert out.count("its results are kept") == 2 * again
        assert "of 2 processes" in out or again
    told = json.loads((tmp_path / "study" / "benchmark.json").read_text())
    assert list(told["circles"]) == ["variation_model", "scored"]


# -- who they are ---------------------------------------------------------------------


@pytest.fixture
def joined(monkeypatch):
    """What jax.distributed.initialize is called with; no launcher is there."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a: calls.append(a))
    for name in (*multihost.STARTED_BY, "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(multihost.importlib.util, "find_spec", lambda name: None)
    return calls


def test_without_flags_and_launcher_a_process_is_alone(joined):
    multihost.join()
    assert joined == []


def test_flags_say_who_a_process_is(joined):
    multihost.join("host:1234", 4, 3)
    assert joined == [("host:1234", 4, 3)]


@pytest.mark.parametrize("name", multihost.STARTED_BY)
def test_a_launcher_that_started_several_is_asked(joined, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    multihost.join()
    assert joined == []
    monkeypatch.setenv(name, "2")
    multihost.join(num_processes=1)
    assert joined == []
    multihost.join()
    assert joined == [()]


def test_a_pod_of_a_job_asks_kubernetes_where_jax_can(joined, monkeypatch):
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    multihost.join()
    assert joined == []
    there = {"kubernetes": object()}
    monkeypatch.setattr(multihost.importlib.util, "find_spec", there.get)
    multihost.join()
    assert joined == [()]


def test_a_machine_with_the_library_of_tpus_but_none_is_alone(monkeypatch, joined):
    there = {"libtpu": object()}
    monkeypatch.setattr(multihost.importlib.util, "find_spec", there.get)
    multihost.join()
    assert joined == [()]

    def none(*_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", none)
    multihost.join()
    monkeypatch.setenv(multihost.STARTED_BY[0], "2")
    with pytest.raises(UserError, match="cannot be joined"):
        multihost.join()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("host:1", 0, -1), ["coordinator='host:1'", "together"]),
        (("", 2, 0), ["num_processes=2", "together"]),
        (("", 0, 1), ["process_id=1", "together"]),
        (("host:1", 1, 0), ["num_processes=1", "together"]),
        (("host:1", 2, 2), ["process_id=2", "the last is 1"]),
        (("host", 2, 0), ["coordinator='host'", "HOST:PORT"]),
    ],
)
def test_flags_that_do_not_belong_together(joined, given, words):
    with pytest.raises(UserError) as raised:
        multihost.join(*given)
    assert all(word in str(raised.value) for word in words), raised.value
    assert joined == []


def test_others_that_do_not_come_are_one_sentence(joined, monkeypatch):
    def refuse(*_):
        raise RuntimeError("DEADLINE_EXCEEDED: no answer\nand more")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with pytest.raises(UserError, match=r"no answer\); start all of them"):
        multihost.join("host:1", 2, 1)


def test_alone_everything_is_the_plain_thing():
    assert multihost.all_gather(3) == [3]
    assert list(multihost.shard_of(3)) == [0, 1, 2]
    assert multihost.run_on_all(lambda: 4) == multihost.run_on_first(lambda: 4) == 4
    multihost.check_equal({"a": 1}, "the images")
    multihost.check_alone("pretraining")
