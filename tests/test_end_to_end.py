"""The main command in processes of its own: from nothing to a report, through kills."""

import json
import math
import pathlib
import signal
import subprocess
import time

import numpy as np
import pytest
import runs
from data import trees
from PIL import Image

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
KINDS = ("structural_anomalies", "logical_anomalies", "mean")
LIMITS = ("0.01", "0.05", "0.1", "0.3", "1.0")


def succeeded(
    arguments: list[str], folder: pathlib.Path
) -> subprocess.CompletedProcess[str]:
    done = runs.command([*arguments, f"--workdir={folder}"])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())


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


def test_loco_with_two_seeds_and_maps(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tifffile

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trees.make_loco(tmp_path / "data")
    trees.make_loco(tmp_path / "data", "pushpins")
    arguments = [
        "--config=configs/loco.py",
        *SMALL,
        *ONE_PHASE,
        f"--config.data.root={tmp_path / 'data'}",
        "--config.data.categories=('juice_bottle',)",
        "--config.epochs=2",
        "--config.seeds=(3,1)",
        "--config.write_maps",
    ]
    folder = tmp_path / "run"
    succeeded(arguments, folder)
    assert not (folder / "pushpins").exists()
    details = read(folder / "juice_bottle/details.json")
    assert details["seeds"] == [3, 1]
    scores = details["branches"]["A"]
    for seed, of_seed in zip((3, 1), scores, strict=True):
        top = folder / f"juice_bottle/anomaly_maps/seed_{seed}/juice_bottle/test"
        maps = sorted(top.rglob("*.tiff"))
        assert [str(path.relative_to(top)) for path in maps] == [
            "good/000.tiff",
            "good/001.tiff",
            "logical_anomalies/000.tiff",
            "logical_anomalies/001.tiff",
            "structural_anomalies/000.tiff",
        ]
        largest = {}
        for path in maps:
            pixels = tifffile.imread(path)
            assert pixels.dtype == np.float32
            assert pixels.shape == (trees.HEIGHT, trees.WIDTH)
            largest[str(path.relative_to(top).with_suffix(""))] = pixels.max()
        # The files are the very maps that were scored.
        for (name, _), score in zip(
            details["images"], of_seed["image_scores"], strict=True
        ):
            assert largest[name] == pytest.approx(score, rel=1e-6)
    assert scores[0]["image_scores"] != scores[1]["image_scores"]
    # metrics.json is the mean of the seeds.
    auroc = read(folder / "juice_bottle/metrics.json")["classification"]["auc_roc"]
    mean = np.mean([s["auroc"]["logical_anomalies"] for s in scores])
    assert auroc["logical_anomalies"] == pytest.approx(mean)
    report = (folder / "report.md").read_text()
    assert "sample standard deviation over 2 seeds" in report
    assert "not the complete published data set" in report
    rows = (folder / "juice_bottle/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["seed"] for row in rows[:2]] == [3, 1]


def test_folder_of_good_images_only(tmp_path: pathlib.Path) -> None:
    for number in range(5):
        trees.save(tmp_path / f"mine/{number}.png", trees.noise(number))
    arguments = [
        "--config=configs/folder.py:small",
        *SMALL,
        *ONE_PHASE,
        f"--config.data.root={tmp_path / 'mine'}",
        "--config.epochs=2",
    ]
    folder = tmp_path / "run"
    done = succeeded(arguments, folder)
    assert "no test images" in done.stdout
    report = (folder / "report.md").read_text()
    assert "Scores of good validation images" in report
    assert "1 of 5 images held out" in report
    found = read(folder / "mine/metrics.json")
    assert set(found["classification"]["auc_roc"].values()) == {None}
    details = read(folder / "mine/details.json")
    assert [len(scores) for scores in details["validation"]] == [1]
    assert not (folder / "mine/maps.png").exists()
    # Finished, although there is nothing to score.
    assert "kept" in succeeded(arguments, folder).stdout


def test_folder_with_test_images_but_no_masks(tmp_path: pathlib.Path) -> None:
    for number in range(4):
        trees.save(tmp_path / f"mine/train/{number}.png", trees.noise(number))
    trees.save(tmp_path / "mine/validation/0.png", trees.noise(10))
    for number in range(2):
        trees.save(tmp_path / f"mine/test/good/{number}.png", trees.noise(20 + number))
        trees.save(tmp_path / f"mine/test/crack/{number}.png", trees.noise(30 + number))
    folder = tmp_path / "run"
    done = succeeded(
        [
            "--config=configs/folder.py:small",
            *SMALL,
            *ONE_PHASE,
            f"--config.data.root={tmp_path / 'mine'}",
            "--config.epochs=2",
        ],
        folder,
    )
    assert "2 of 2 anomalous test images have no mask" in done.stdout.replace("\n", " ")
    found = read(folder / "mine/metrics.json")
    auroc = found["classification"]["auc_roc"]
    assert auroc["structural_anomalies"] in (
        0.0,
        0.25,
        0.5,
        0.75,
        1.0,
    )  # of 2 x 2 pairs
    assert auroc["logical_anomalies"] is None
    localization = found["localization"]["auc_spro"]["structural_anomalies"]
    assert set(localization.values()) == {None}
    assert "There is no AU-sPRO" in (folder / "report.md").read_text()
    with Image.open(folder / "mine/maps.png") as picture:
        assert picture.width > 100


def test_a_memory_and_running_statistics_survive_a_kill(tmp_path: pathlib.Path) -> None:
    arguments = [
        "--config=configs/mnad.py:small,circles",
        *TINY_CIRCLES,
        "--config.image_size=32",
        "--config.batch_size=2",
        "--config.epochs=10",
        "--config.method.width=0.0625",
        "--config.method.items=3",
    ]
    succeeded(arguments, tmp_path / "whole")
    killed = tmp_path / "killed"
    often = [*arguments, f"--workdir={killed}", "--config.checkpoint_minutes=0.0"]
    process = runs.start(often)
    runs.wait_for(lambda: len(runs.checkpoint_steps(killed / "circles")) > 1, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "circles/metrics.json").exists()
    assert "resume" in succeeded(arguments, killed).stdout
    expected, found = (
        runs.saved_state(folder / "circles") for folder in (tmp_path / "whole", killed)
    )
    assert any("memory" in name for name in expected)
    assert any("mean" in name for name in expected)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    report = (killed / "report.md").read_text()
    assert report.startswith("# MNAD on circles")
    assert "width 0.0625" in report


def test_a_method_that_trains_nothing_reports_once(tmp_path: pathlib.Path) -> None:
    arguments = [
        "--config=configs/variation_model.py:small,circles",
        *TINY_CIRCLES,
        "--config.image_size=32",
        "--config.seeds=(0,1)",
    ]
    said = succeeded(arguments, tmp_path).stdout
    assert "resume" not in said
    assert not (tmp_path / "circles/frozen.npz").exists()
    assert read(tmp_path / "circles/details.json")["seeds"] == [0]
    assert (tmp_path / "circles/maps.png").stat().st_size > 0
    assert not (tmp_path / "circles/losses.png").exists()
    report = (tmp_path / "report.md").read_text()
    assert report.startswith("# Variation Model on circles")
    assert "not aligned" in report
    assert "Settings: the paper's" not in report
    assert "losses.png" not in report
    assert "kept" in succeeded(arguments, tmp_path).stdout


def test_grey_images_and_batches_larger_than_the_data(tmp_path: pathlib.Path) -> None:
    arguments = [
        "--config=configs/fanogan.py:small,circles",
        *TINY_CIRCLES,
        "--config.image_size=32",
        "--config.batch_size=16",
        "--config.epochs=2",
        "--config.method.widths=(4,4,4)",
        "--config.method.samples_per_epoch=40",
        "--config.method.encoder_updates=3",
    ]
    said = succeeded(arguments, tmp_path).stdout
    assert "train 12" in said
    rows = [
        json.loads(line)
        for line in (tmp_path / "circles/metrics.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["epoch"] for row in rows[:4]] == [0.5, 1.0, 1.5, 2.0]
    assert {"L_wasserstein", "L_penalty"} <= set(rows[0])
    assert {"L_image", "L_features"} <= set(rows[-1])
    for name in ("maps.png", "losses.png"):
        assert (tmp_path / "circles" / name).stat().st_size > 0
