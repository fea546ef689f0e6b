"""The main command on other sets than circles, and with other methods than GCAD.

In this process and with the double where the network is not the subject.
"""

import json
import pathlib
import re
import signal

import numpy as np
import pytest
from helpers import commands, runs, trees
from helpers.small_commands import TINY_CIRCLES, read, succeeded
from PIL import Image

# How ml_collections loads a config file.
LOADS = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
# A data set in the place of {}.
BODY = """runs.tiny(
    data={}, method=doubles.Scored(epochs=3, batch_size=2), figure_images=1)"""


@pytest.fixture
def printed(monkeypatch, capsys):
    """Runs the command in this process; returns what it printed."""

    def run(arguments, folder: pathlib.Path) -> str:
        given = [*arguments, f"--workdir={folder}"]
        assert commands.run_here("main", given, monkeypatch) == 0
        return capsys.readouterr().out

    return run


def config_of(folder: pathlib.Path, data: str) -> list[str]:
    """The flag of a run of the double on a data set."""
    return [f"--config={runs.write_config(folder, BODY.format(data))}"]


@LOADS
def test_loco_with_two_seeds_and_maps(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, printed
) -> None:
    import tifffile

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trees.make_loco(tmp_path / "data")
    trees.make_loco(tmp_path / "data", "pushpins")
    arguments = [
        *config_of(tmp_path, "MvtecLocoAd('')"),
        f"--config.data.root={tmp_path / 'data'}",
        "--config.data.categories=('juice_bottle',)",
        "--config.seeds=(3,1)",
        "--config.write_maps",
    ]
    folder = tmp_path / "run"
    printed(arguments, folder)
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
    assert re.search(r"\| juice_bottle \|.*\| no \|\n", report), "it is not complete"
    rows = (folder / "juice_bottle/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["seed"] for row in rows[:2]] == [3, 1]


@LOADS
def test_folder_of_good_images_only(tmp_path: pathlib.Path, printed) -> None:
    for number in range(5):
        trees.save(tmp_path / f"mine/{number}.png", trees.noise(number))
    arguments = [
        *config_of(tmp_path, "Folder('')"),
        f"--config.data.root={tmp_path / 'mine'}",
    ]
    folder = tmp_path / "run"
    assert "no test images" in printed(arguments, folder)
    report = (folder / "report.md").read_text()
    assert "Scores of good validation images" in report
    assert "1 of 5 images held out" in report
    found = read(folder / "mine/metrics.json")
    assert set(found["classification"]["auc_roc"].values()) == {None}
    details = read(folder / "mine/details.json")
    assert [len(scores) for scores in details["validation"]] == [1]
    assert not (folder / "mine/maps.png").exists()
    # Finished, although there is nothing to score.
    assert "kept" in printed(arguments, folder)


@LOADS
def test_folder_with_test_images_but_no_masks(tmp_path: pathlib.Path, printed) -> None:
    for number in range(4):
        trees.save(tmp_path / f"mine/train/{number}.png", trees.noise(number))
    trees.save(tmp_path / "mine/validation/0.png", trees.noise(10))
    for number in range(2):
        trees.save(tmp_path / f"mine/test/good/{number}.png", trees.noise(20 + number))
        trees.save(tmp_path / f"mine/test/crack/{number}.png", trees.noise(30 + number))
    folder = tmp_path / "run"
    arguments = [
        *config_of(tmp_path, "Folder('')"),
        f"--config.data.root={tmp_path / 'mine'}",
    ]
    said = " ".join(printed(arguments, folder).split())
    assert "2 of 2 anomalous test images have no mask" in said
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


@pytest.mark.long
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


@LOADS
def test_a_method_that_trains_nothing_reports_once(
    tmp_path: pathlib.Path, printed
) -> None:
    arguments = [
        f"--config={runs.ROOT}/configs/variation_model.py:small,circles",
        *TINY_CIRCLES,
        "--config.image_size=32",
        "--config.seeds=(0,1)",
    ]
    said = printed(arguments, tmp_path)
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
    assert "kept" in printed(arguments, tmp_path)


@pytest.mark.long
def test_gray_images_and_batches_larger_than_the_data(tmp_path: pathlib.Path) -> None:
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
