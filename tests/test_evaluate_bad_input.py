"""What is wrong with ground truth, maps or the output folder is one sentence."""

import pathlib
import shutil

import numpy as np
import pytest
from helpers import map_folders as folders

from gcad_jax.core.errors import UserError
from gcad_jax.runs import score_maps

TRUTH, MAPS = "data/pushpins/ground_truth", "maps/pushpins/test"
DENT = f"{TRUTH}/structural_anomalies/000/000.png"


def score(root: pathlib.Path, name: str = folders.NAME):
    return score_maps.evaluate(name, root / "data", root / "maps", root / "out")


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
    "map that is a folder": (
        lambda root: (root / f"{MAPS}/good/002.tiff").mkdir(),
        r"good/002\.tiff is not a file",
    ),
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
    "two values": (
        a_mask(with_(7)),
        r"000/000\.png is a mask .* values .such as 7 and 200",
    ),
    "zero mask": (
        a_mask(lambda m: m * 0),
        r"000/000\.png is a mask without any positive pixel",
    ),
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
    "link of all maps": (
        lambda root: (shutil.rmtree(root / "maps"), link("maps")(root)),
        r"maps is a symbolic link to .*nowhere",
    ),
    "link in a circle": (
        lambda root: ((root / DENT).unlink(), (root / DENT).symlink_to(root / DENT)),
        r"000/000\.png is a symbolic link",
    ),
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

    monkeypatch.setattr(score_maps.curves, "render_spro_curves", full)
    with pytest.raises(UserError, match="disk full"):
        score(tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
