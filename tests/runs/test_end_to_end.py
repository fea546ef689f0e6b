"""The main command in processes of its own: from nothing to a report, through kills."""

import json
import math
import pathlib
import signal
import time

import numpy as np
import pytest
from helpers import runs
from helpers.small_commands import (
    CIRCLES,
    STEPS,
    read,
    succeeded,
)

KINDS = ("structural_anomalies", "logical_anomalies", "mean")
LIMITS = ("0.01", "0.05", "0.1", "0.3", "1.0")
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, str]:
    """Folder and output of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, succeeded(CIRCLES, folder).stdout


def test_from_nothing_to_a_report(whole: tuple[pathlib.Path, str]) -> None:
    folder, said = whole
    category = folder / "circles"
    assert read(folder / "config.json")["epochs"] == 20
    figures = ("maps", "curves", "worst", "best", "losses")
    files = [f"{name}.{form}" for name in figures for form in ("png", "pdf")]
    for name in ("details.json", *files):
        assert (category / name).stat().st_size > 0
    assert list((category / "tensorboard").glob("events.*"))
    assert runs.checkpoint_steps(category)[-1] == STEPS
    assert runs.leftovers(folder) == []
    report = (folder / "report.md").read_text()
    assert "not pretrained" in report, "which teacher was used"
    for name in figures:
        assert f"(circles/{name}.png)" in report
    assert (folder / "report.html").read_text().count("base64,") == len(figures)
    for words in (
        "train 12, validation 3",
        "phase       global encoder, skips fading: 30 steps",
        "phase       global encoder: 30 steps",
        "phase       joint: 60 steps",
        str(folder / "report.md"),
    ):
        assert words in said


def test_metrics_have_the_official_schema(whole: tuple[pathlib.Path, str]) -> None:
    found = read(whole[0] / "circles/metrics.json")
    assert set(found) == {"classification", "localization"}
    auroc = found["classification"]["auc_roc"]
    auspro = found["localization"]["auc_spro"]
    assert set(auroc) == set(auspro) == set(KINDS)
    for kind in KINDS:
        assert 0 <= auroc[kind] <= 1
        assert set(auspro[kind]) == set(LIMITS)
        assert all(0 <= value <= 1 for value in auspro[kind].values())
    halves = (auroc["structural_anomalies"] + auroc["logical_anomalies"]) / 2
    assert math.isclose(auroc["mean"], halves)
    report = (whole[0] / "report.md").read_text()
    assert f"| {auroc['mean']:.3f} |" in report


def test_every_step_is_logged(whole: tuple[pathlib.Path, str]) -> None:
    lines = (whole[0] / "circles/metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert rows[5]["epoch"] == 1.0  # six steps of two images
    for row in rows:
        losses = {"L_loc_17", "L_kd_17"} | ({"L_glo_17"} if row["step"] > 60 else set())
        assert {name for name in row if name.startswith("L_")} == losses
    first, last = (
        np.mean([row["L_kd_17"] for row in part]) for part in (rows[:6], rows[-6:])
    )
    assert last < first, "it learns"


def test_same_command_again_keeps_everything(whole: tuple[pathlib.Path, str]) -> None:
    folder = whole[0]
    reports = [folder / "report.md", folder / "report.html"]
    files = [*reports, *(folder / "circles").glob("*.*")]
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}
    done = succeeded(CIRCLES, folder)
    assert "kept" in done.stdout
    assert "phase" not in done.stdout, "nothing is compiled"
    after = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}
    assert after == before


def test_lost_report_is_written_again(whole: tuple[pathlib.Path, str]) -> None:
    report = whole[0] / "report.md"
    tables = report.read_text().partition("## Data")[2]
    report.unlink()
    (whole[0] / "report.html").unlink()
    (whole[0] / "circles/curves.pdf").unlink()
    done = succeeded(CIRCLES, whole[0])
    assert "phase" not in done.stdout, "nothing is trained or scored again"
    assert report.read_text().partition("## Data")[2] == tables
    assert "base64," in (whole[0] / "report.html").read_text()
    assert (whole[0] / "circles/curves.pdf").exists()


def test_killed_and_stopped_it_ends_as_if_it_were_not(
    whole: tuple[pathlib.Path, str],
    tmp_path: pathlib.Path,
) -> None:
    category = tmp_path / "circles"
    often = [*CIRCLES, f"--workdir={tmp_path}", "--config.checkpoint_minutes=0.0"]
    random = np.random.default_rng()  # another moment each time

    def steps() -> list[int]:
        return runs.checkpoint_steps(category)

    def killed_when(condition, arguments=often, seconds=0.0) -> None:  # type: ignore[no-untyped-def]
        process = runs.start(arguments)
        runs.wait_for(condition, process)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (category / "metrics.json").exists()

    # Between checkpoints, at a random moment.
    killed_when(lambda: bool(steps()), seconds=random.uniform(0, 0.3))
    first = steps()[-1]
    # While a checkpoint is written: its temporary folder is there.
    killed_when(
        lambda: bool(steps()) and steps()[-1] > first and runs.leftovers(category) != []
    )
    second = steps()[-1]
    assert first < second < STEPS
    # SIGTERM saves first.
    rare = [*CIRCLES, f"--workdir={tmp_path}", "--config.checkpoint_minutes=0.005"]
    process = runs.start(rare)
    runs.wait_for(lambda: steps()[-1] > second, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143, (out, err)
    assert f"resume      from step {second}" in out
    third = steps()[-1]
    assert f"saved at step {third}" in err
    assert "Traceback" not in err
    rows = (category / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["step"] == third

    done = succeeded(CIRCLES, tmp_path)
    assert f"resume      from step {third}" in done.stdout
    expected, found = (
        runs.saved_state(folder) for folder in (whole[0] / "circles", category)
    )
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    for name in ("metrics.json", "metrics.jsonl", "details.json"):
        assert (category / name).read_bytes() == (
            whole[0] / "circles" / name
        ).read_bytes(), name
    assert runs.leftovers(tmp_path) == []
