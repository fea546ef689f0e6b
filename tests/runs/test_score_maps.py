"""The command that scores a folder of maps."""

import json
import pathlib
import sys
import threading

import numpy as np
import pytest
from helpers import map_folders as folders

from gcad_jax.runs import score_maps

LIMITS = ("0.01", "0.05", "0.1", "0.3", "1.0")
TRUTH, MAPS = "data/pushpins/ground_truth", "maps/pushpins/test"
DENT = f"{TRUTH}/structural_anomalies/000/000.png"


def score(root: pathlib.Path, name: str = folders.NAME):
    return score_maps.evaluate(name, root / "data", root / "maps", root / "out")


def values(root: pathlib.Path):
    return folders.metrics(root / "out")


def test_files_of_perfect_maps(tmp_path, capsys):
    folders.make_loco(tmp_path)
    score(tmp_path)
    out = tmp_path / "out"
    names = sorted(p.name for p in out.iterdir())
    assert names == ["curves.pdf", "curves.png", "details.json", "metrics.json"]

    kinds = ("logical_anomalies", "mean", "structural_anomalies")
    found = values(tmp_path)
    assert found["classification"] == {"auc_roc": dict.fromkeys(kinds, 1.0)}
    assert list(found["localization"]) == ["auc_spro"]
    areas = found["localization"]["auc_spro"]
    ones = dict.fromkeys(LIMITS, 1.0)
    assert areas == {kind: pytest.approx(ones) for kind in kinds}
    text = (out / "metrics.json").read_text()
    assert text == json.dumps(values(tmp_path), sort_keys=True, indent=4) + "\n"
    assert (out / "curves.png").read_bytes()[1:4] == b"PNG"
    details = json.loads((out / "details.json").read_text())
    (scores,) = details["branches"]["A"]
    assert [d["name"] for d in scores["defects"]] == ["dent", "missing"]
    assert details["dataset"] == "mvtec_loco_ad"
    assert details["complete"] is False

    printed = capsys.readouterr().out
    assert "pushpins: 2 good, 2 structural and 1 logical test images." in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert "0.05" in printed
    assert "null" not in printed


def test_by_hand(tmp_path):
    _, maps = folders.make_loco(tmp_path)
    # Dents of 12 pixels that saturate at 6: three are found before any false positive,
    # the others tie with all negatives. So the curve goes straight from (0, 1/2) to
    # (1, 1), and up to x its mean height is 1/2 + x/4.
    for number in range(2):
        scores = np.zeros((folders.HEIGHT, folders.WIDTH), np.float32)
        scores[2, 3:6] = 5
        path = maps / f"test/structural_anomalies/00{number}.tiff"
        folders.save_map(path, scores)
    score(tmp_path)
    areas = values(tmp_path)["localization"]["auc_spro"]["structural_anomalies"]
    for limit in LIMITS:
        assert areas[limit] == pytest.approx(0.5 + float(limit) / 4)


def test_mvtec_ad(tmp_path):
    folders.make_ad(tmp_path)
    result = score(tmp_path, "cable")
    assert result.dataset == "mvtec_ad"
    assert values(tmp_path)["localization"]["auc_spro"]["mean"][
        "0.05"
    ] == pytest.approx(1)
    assert [d.name for d in result.combined[0].defects] == ["cable_swap", "poke"]


def test_any_name_and_both_suffixes(tmp_path):
    _, maps = folders.make_loco(tmp_path, "my $new$ parts")
    for path in maps.rglob("*.tiff"):
        path.rename(path.with_suffix(".tif"))
    score(tmp_path, "my $new$ parts")
    assert values(tmp_path)["classification"]["auc_roc"]["mean"] == 1


@pytest.mark.parametrize("gone", ["logical_anomalies", "structural_anomalies"])
def test_a_kind_without_images_is_null(tmp_path, gone, capsys):
    remove(tmp_path, gone)
    score(tmp_path)
    found = values(tmp_path)
    for kind in (gone, "mean"):
        assert found["classification"]["auc_roc"][kind] is None
        assert found["localization"]["auc_spro"][kind] == dict.fromkeys(LIMITS)
    (other,) = {"logical_anomalies", "structural_anomalies"} - {gone}
    assert found["localization"]["auc_spro"][other]["0.05"] == pytest.approx(1)
    short = gone.removesuffix("_anomalies")
    assert f"There are no {short} images:" in capsys.readouterr().out


def remove(root: pathlib.Path, kind: str) -> None:
    """Leaves empty folders of a kind."""
    folders.make_loco(root)
    for file in (root / MAPS / kind).iterdir():
        file.unlink()
    for folder in (root / TRUTH / kind).iterdir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def test_without_good_images(tmp_path, capsys):
    _, maps = folders.make_loco(tmp_path)
    for file in (maps / "test/good").iterdir():
        file.unlink()
    score(tmp_path)
    assert values(tmp_path)["localization"]["auc_spro"]["mean"][
        "0.05"
    ] == pytest.approx(1)
    assert values(tmp_path)["classification"]["auc_roc"]["mean"] is None
    assert "no good images: every AU-ROC is null" in capsys.readouterr().out


def test_without_negatives(tmp_path, capsys):
    _, maps = folders.make_loco(tmp_path)
    for file in (maps / "test/good").iterdir():
        file.unlink()
    full = np.full((folders.HEIGHT, folders.WIDTH), 200, np.uint8)
    for file in (tmp_path / TRUTH).rglob("*.png"):
        folders.save_mask(file, full)
    (tmp_path / "out").mkdir()
    for name in ("curves.png", "curves.pdf"):
        (tmp_path / "out" / name).write_text("of an earlier run")
    score(tmp_path)
    assert values(tmp_path)["localization"]["auc_spro"]["mean"]["0.05"] is None
    assert not list((tmp_path / "out").glob("curves.*"))
    assert "No pixel is free of logical defects" in capsys.readouterr().out


def test_progress_counts_every_map_once_from_any_thread(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with score_maps.count_maps(lambda i: np.full((1, 1), i), 40) as source:
        threads = [
            threading.Thread(target=lambda: [source(i) for i in range(40)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert source(7) == 7
    monkeypatch.undo()
    shown = capsys.readouterr().err
    assert "Scoring" in shown
    assert "41/40" not in shown


@pytest.mark.parametrize(
    "case",
    [
        "all_negative",
        "basic",
        "multichannel_overlap",
        "saturation_edge",
        "ties_quantised",
    ],
)
def test_reference_cases(case, real_data, tmp_path):
    folder = real_data / "spro_cases" / case
    name = json.loads((folder / "case.json").read_text())["object_name"]
    result = score_maps.evaluate(
        name, folder / "dataset", folder / "anomaly_maps", tmp_path / "out"
    )
    exact = json.loads((folder / "exact.json").read_text())
    official = json.loads((folder / "metrics.json").read_text())
    found = values(tmp_path)
    assert keys(found) == keys(official)
    for kind, by_limit in exact["localization"]["auc_spro"].items():
        areas = found["localization"]["auc_spro"][kind]
        assert areas == pytest.approx(by_limit, abs=1e-6)
        theirs = official["localization"]["auc_spro"][kind]["0.05"]
        assert areas["0.05"] == pytest.approx(theirs, abs=5e-4)
    auroc = exact["classification"]["auc_roc_mann_whitney"]
    assert found["classification"]["auc_roc"] == pytest.approx(auroc, abs=1e-6)
    defects = {d.name: d.auspro for d in result.combined[0].defects}
    for defect, by_limit in exact["per_defect_type"].items():
        assert defects[defect] == pytest.approx(by_limit, abs=1e-6)


def keys(tree):
    return {k: keys(v) for k, v in tree.items()} if isinstance(tree, dict) else None
