"""Workdirs of version 0.1.0: a stopped one is continued, finished ones are merged."""

import json

import pytest
from helpers import outside

# Of metrics in [0, 1], and of losses: after sixteen updates on another machine.
METRICS, LOSSES = 1e-3, 1e-4
# Of the preset of that version (CHANGELOG.md); its command gives the others.
FORMER_CIRCLES = (
    "--config.method.stride=1",
    "--config.method.unet_depth=5",
    "--config.method.distance=euclidean",
    "--config.method.E_glo_widths=(256,256,512,512,1024)",
)


@pytest.mark.long
def test_a_stopped_run_ends_as_it_ended_there(tmp_path):
    before = outside.expected("half_way")
    workdir = outside.unpack("half_way.tar.xz", tmp_path / "run")
    steps = [path.name for path in (workdir / "circles/checkpoints").iterdir()]
    assert steps == [str(before["stopped_at"])]
    assert not (workdir / "circles/metrics.json").exists()

    config, *flags = before["command"]
    command = config, *FORMER_CIRCLES, *flags
    printed = outside.succeeded("main", *command, f"--workdir={workdir}")
    assert f"step {before['stopped_at']}" in printed, "it is continued"
    category = workdir / "circles"
    lines = (category / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    outside.check_numbers(rows, before["rows"], atol=0, rtol=LOSSES)
    made = outside.read_json(category / "metrics.json")
    outside.check_numbers(made, before["metrics"], atol=METRICS)
    for name in ("report.md", "report.html", "circles/detectors/seed_0.npz"):
        assert (workdir / name).stat().st_size > 0


def test_finished_runs_are_merged_as_there(tmp_path):
    before = outside.expected("merged")
    parts = outside.unpack("parts.tar.xz", tmp_path / "parts")
    merged = tmp_path / "merged"
    outside.succeeded("merge", f"--parts={parts / '*'}", f"--workdir={merged}")
    category = merged / "circles"
    for name in ("metrics", "details"):
        made = outside.read_json(category / f"{name}.json")
        outside.check_numbers(made, before[name], atol=1e-12, rtol=1e-12)
    # The command of all seeds finds them finished, and writes the report.
    results = (category / "metrics.json").read_bytes()
    outside.succeeded("main", *before["command"], f"--workdir={merged}")
    assert (category / "metrics.json").read_bytes() == results
    assert not (category / "checkpoints").exists(), "nothing is trained"
    assert (merged / "report.md").stat().st_size > 0
