"""The command that scores a folder of maps."""

import json
import os
import pathlib
import subprocess
import sys
import threading

import map_folders as folders
import numpy as np
import pytest
import runs
from absl.testing import flagsaver

from gcad_jax import evaluate
from gcad_jax.checks import UserError

LIMITS = ("0.01", "0.05", "0.1", "0.3", "1.0")
TRUTH, MAPS = "data/pushpins/ground_truth", "maps/pushpins/test"
DENT = f"{TRUTH}/structural_anomalies/000/000.png"


def score(root: pathlib.Path, name: str = folders.NAME):
    return evaluate.evaluate(name, root / "data", root / "maps", root / "out")


def values(root: pathlib.Path):
    return json.loads((root / "out" / "metrics.json").read_text())


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gcad_jax.evaluate", *arguments],
        cwd=runs.ROOT,
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_files_of_perfect_maps(tmp_path, capsys):
    folders.make_loco(tmp_path)
    score(tmp_path)
    out = tmp_path / "out"
    names = sorted(p.name for p in out.iterdir())
    assert names == ["curves.png", "details.json", "metrics.json"]

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
    (tmp_path / "out/curves.png").write_text("of an earlier run")
    score(tmp_path)
    assert values(tmp_path)["localization"]["auc_spro"]["mean"]["0.05"] is None
    assert not (tmp_path / "out/curves.png").exists()
    assert "No pixel is free of logical defects" in capsys.readouterr().out


def a_map(change):
    """Replaces the scores of the second good map."""

    def damage(root: pathlib.Path) -> None:
        scores = np.zeros((folders.HEIGHT, folders.WIDTH), np.float32)
        folders.save_map(root / MAPS / "good/001.tiff", change(scores))

    return damage


def a_mask(change):
    """Replaces the mask of the first structural image."""

    def damage(root: pathlib.Path) -> None:
        folders.save_mask(root / DENT, change(folders.rectangle(2, 3, 3, 4, 200)))

    return damage


def an_entry(**fields):
    """Changes the second entry of the configuration, the dent."""

    def damage(root: pathlib.Path) -> None:
        entries = [folders.DEFECTS[0], folders.DEFECTS[1] | fields]
        folders.write_defects(root / "data/pushpins", entries)

    return damage


def gone(path: str):
    return lambda root: (root / path).unlink()


def link(path: str):
    def damage(root: pathlib.Path) -> None:
        (root / path).unlink(missing_ok=True)
        (root / path).symlink_to(root / "nowhere")

    return damage


def empty(path: str):
    """Takes every file out of a folder; folders in it stay."""

    def damage(root: pathlib.Path) -> None:
        (root / path).mkdir(parents=True, exist_ok=True)
        for file in [p for p in (root / path).rglob("*") if p.is_file()]:
            file.unlink()

    return damage


def with_(value):
    def change(scores):
        scores[4, 5] = value
        return scores

    return change


def a_good_image(number: int):
    def damage(root: pathlib.Path) -> None:
        mask = np.zeros((folders.HEIGHT, folders.WIDTH), np.uint8)
        for name in {0, number}:
            folders.save_mask(root / f"data/pushpins/test/good/{name:03}.png", mask)

    return damage


def a_file(path: str, text: str = ""):
    def damage(root: pathlib.Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    return damage


LOGICAL_MAP = f"{MAPS}/logical_anomalies/000.tiff"
CONFIG = "data/pushpins/defects_config.json"
BAD = {
    "nan": (a_map(with_(np.nan)), r"good/001\.tiff holds NaN"),
    "inf": (a_map(with_(-np.inf)), r"good/001\.tiff holds NaN or inf"),
    "channels": (a_map(lambda s: np.stack([s] * 2)), r"good/001\.tiff holds .*2-D"),
    "complex": (a_map(lambda s: s + 1j), r"good/001\.tiff holds complex"),
    "anomalous map of another size": (
        lambda root: folders.save_map(root / LOGICAL_MAP, np.zeros((8, 12))),
        r"logical_anomalies/000\.tiff is a map of 12 x 8 pixels",
    ),
    "good map of another size": (
        lambda root: (a_good_image(1)(root), a_map(lambda s: s.T)(root)),
        r"good/001\.tiff is a map of 12 x 8 pixels",
    ),
    "damaged map": (a_file(LOGICAL_MAP, "II*"), r"000\.tiff is not a readable TIFF"),
    "cut off": (
        lambda root: (root / LOGICAL_MAP).write_bytes(
            (root / LOGICAL_MAP).read_bytes()[:-50]
        ),
        r"logical_anomalies/000\.tiff is not a readable TIFF",
    ),
    "empty map": (a_file(f"{MAPS}/good/001.tiff"), r"001\.tiff is not a readable TIFF"),
    "missing map": (gone(LOGICAL_MAP), r"logical_anomalies/000\.tiff does not exist"),
    "missing good map": (a_good_image(2), r"good/002\.tiff does not exist"),
    "extra good map": (a_good_image(0), r"good/001\.tiff is the map of no test image"),
    "extra map": (
        lambda root: folders.save_map(
            root / MAPS / "logical_anomalies/009.tif", np.zeros((3, 3))
        ),
        r"logical_anomalies/009\.tif is the map of no test image",
    ),
    "both suffixes": (
        lambda root: folders.save_map(root / MAPS / "good/001.tif", np.zeros((12, 8))),
        r"good/001\.tiff and 001\.tif beside it",
    ),
    "two values": (a_mask(with_(7)), r"000/000\.png is a mask .* values 7 and 200"),
    "zero mask": (a_mask(lambda m: m * 0), r"000/000\.png is a mask that marks no pix"),
    "unknown value": (a_mask(lambda m: m // 2), r"000/000\.png .* pixel value 100,"),
    "damaged mask": (a_file(DENT, "PNG"), r"000/000\.png is not a readable image"),
    "empty mask file": (a_file(DENT), r"000/000\.png is not a readable image"),
    "masks of two sizes": (
        lambda root: folders.save_mask(
            root / TRUTH / "logical_anomalies/000/001.png",
            folders.rectangle(8, 6, 2, 2, 200).T,
        ),
        r"000/001\.png is a mask of 12 x 8 pixels, but its image \(by 000\.png",
    ),
    "saturation of no pixel": (
        an_entry(saturation_threshold=0.01),
        r"\d\d\d/\d\d\d\.png has .* saturates at 0 pixels",
    ),
    "duplicate value": (an_entry(pixel_value=255), r"config\.json has pixel_value 255"),
    "value 0": (an_entry(pixel_value=0), r"config\.json, entry 2 \(dent\)"),
    "threshold 0": (an_entry(saturation_threshold=0), r"config\.json, entry 2 .*above"),
    "negative": (an_entry(saturation_threshold=-1), r"config\.json, entry 2 .*above 0"),
    "above 1": (an_entry(saturation_threshold=1.5), r"config\.json, .* at most 1"),
    "no config": (gone(CONFIG), r"config\.json cannot be read"),
    "config no JSON": (a_file(CONFIG, "[{]"), r"config\.json is not valid JSON"),
    "link of a mask": (link(DENT), r"000/000\.png is a symbolic link to .*nowhere"),
    "link of a map": (link(LOGICAL_MAP), r"000\.tiff is a symbolic link to .*nowhere"),
    "link of the config": (link(CONFIG), r"config\.json is a symbolic link"),
    "link of an image": (
        link(f"{TRUTH}/logical_anomalies/001"),
        r"logical_anomalies/001 is a symbolic link",
    ),
    "stray mask": (
        a_file(f"{TRUTH}/logical_anomalies/000.png"),
        r"logical_anomalies/000\.png belongs to no image",
    ),
    "other kind": (
        empty(f"{TRUTH}/dents"),
        r"A folder of .*ground_truth is 'dents'; allowed are",
    ),
    "no masks of an image": (
        empty(f"{TRUTH}/logical_anomalies/000"),
        r"logical_anomalies/000 holds no mask",
    ),
    "no masks": (empty(TRUTH), r"ground_truth/structural_anomalies/000 holds no mask"),
    "empty maps": (empty("maps"), r"pushpins/test holds no anomaly map"),
    "output is a file": (a_file("out"), r"out cannot be written \(.*Not a directory\)"),
    "output in a file": (
        lambda root: (a_file("file")(root), (root / "out").symlink_to("file/sub")),
        r"out cannot be written",
    ),
    "metrics.json is a folder": (
        lambda root: (root / "out/metrics.json").mkdir(parents=True),
        r"out/metrics\.json is a folder",
    ),
}


@pytest.mark.parametrize(("damage", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_input(tmp_path, capsys, damage, sentence):
    folders.make_loco(tmp_path)
    damage(tmp_path)
    before = files(tmp_path)
    with pytest.raises(UserError, match=sentence) as error:
        score(tmp_path)
    assert str(error.value)[-1] in ".?"
    assert "\n" not in str(error.value)
    assert files(tmp_path) == before
    assert capsys.readouterr().out == ""


def files(root: pathlib.Path) -> list[str]:
    return sorted(map(str, root.rglob("*")))


def test_bad_folders(tmp_path):
    with pytest.raises(UserError, match="data is not a folder"):
        score(tmp_path)
    (tmp_path / "data/pushpins").mkdir(parents=True)
    with pytest.raises(UserError, match=r"maps/pushpins/test is not a folder"):
        score(tmp_path)
    folders.save_map(tmp_path / MAPS / "good/000.tiff", np.zeros((2, 2)))
    with pytest.raises(UserError, match="pushpins/ground_truth is not a folder"):
        score(tmp_path)
    (tmp_path / TRUTH).mkdir()
    with pytest.raises(UserError, match="ground_truth holds no mask"):
        score(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [0, 7])
def test_bad_masks_of_mvtec_ad(tmp_path, value):
    data, _ = folders.make_ad(tmp_path)
    mask = folders.rectangle(1, 2, 3, 4, value)
    folders.save_mask(data / "ground_truth/poke/000_mask.png", mask)
    with pytest.raises(UserError, match=r"poke/000_mask\.png is a mask"):
        score(tmp_path, "cable")
    folders.save_mask(data / "ground_truth/poke/000.png", mask)
    with pytest.raises(UserError, match=r"poke/000\.png is not a mask in MVTec AD's"):
        score(tmp_path, "cable")


def test_an_error_keeps_the_results_before_it(tmp_path):
    folders.make_loco(tmp_path)
    score(tmp_path)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    a_map(with_(np.nan))(tmp_path)
    with pytest.raises(UserError):
        score(tmp_path)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_nothing_is_written_where_one_file_fails(tmp_path, monkeypatch):
    folders.make_loco(tmp_path)

    def full(*_args):
        raise UserError("disk full.")

    monkeypatch.setattr(evaluate.plots, "curves", full)
    with pytest.raises(UserError, match="disk full"):
        score(tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


def test_progress_counts_every_map_once_from_any_thread(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with evaluate.progress(lambda i: np.full((1, 1), i), 40) as source:
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


def test_the_command(tmp_path):
    folders.make_loco(tmp_path)
    done = command(
        "--object_name=pushpins",
        f"--dataset_base_dir={tmp_path}/data",
        "--anomaly_maps_dir",
        f"{tmp_path}/maps",
        f"--output_dir={tmp_path}/out",
        "--num_parallel_workers=2",
        "--curve_max_distance=0.001",
        "--niceness=1",
    )
    assert done.returncode == 0, done
    assert done.stderr == ""
    assert done.stdout.startswith("--curve_max_distance has no effect")
    assert values(tmp_path)["classification"]["auc_roc"]["mean"] == 1


def test_the_command_refuses(tmp_path):
    folders.make_loco(tmp_path)
    (tmp_path / LOGICAL_MAP).write_bytes(b"II*\0\x08\0\0\0\xff\xff")
    done = command(
        "--object_name=pushpins",
        f"--dataset_base_dir={tmp_path}/data",
        f"--anomaly_maps_dir={tmp_path}/maps",
        f"--output_dir={tmp_path}/out",
    )
    assert done.returncode == 2, done
    assert "logical_anomalies/000.tiff" in runs.one_sentence(done.stderr)
    assert done.stdout == ""
    assert not os.path.lexists(tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--object_nam=x"], "--object_nam is unknown. Did you mean '--object_name'?"),
        (["--object_name=x"], "--dataset_base_dir is missing; the command is"),
        (["--num_parallel_workers=0"], "--num_parallel_workers=0"),
        (["--niceness=low"], "--niceness=low"),
        (["pushpins"], "'pushpins' is not a flag"),
    ],
)
def test_flags(arguments, sentence, capsys):
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as stopped:
        evaluate.parse(["evaluate", *arguments])
    assert stopped.value.code == 2
    assert sentence in runs.one_sentence(capsys.readouterr().err)


def test_help_fits_a_terminal(capsys):
    with pytest.raises(SystemExit) as stopped:
        evaluate.parse(["evaluate", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"--{name}" in text for name in evaluate.NAMES)


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
    result = evaluate.evaluate(
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
