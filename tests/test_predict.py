"""`python -m gcad_jax.predict`: what it writes, and what it says of mistakes."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from helpers import runs
from inference.test_detector import images, judged, stored
from PIL import Image

import gcad_jax
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path
from gcad_jax.inference import detector_file, predict_folder
from gcad_jax.inference.image_inputs import find_images
from gcad_jax.inference.predict_folder import OutputOptions
from gcad_jax.reporting.plots import overlay


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A workdir, and images: good/0.png ... good/5.jpg, bad/6.png ..., one damaged."""
    folder = tmp_path_factory.mktemp("predict")
    detector_file.write_detector(
        detector_file.detector_path(folder / "run/nut", 3), stored()
    )
    for number, image in enumerate(images(12)):
        kind, suffix = ("good", "jpg") if number == 5 else ("bad", "png")
        (folder / "images" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"images/{kind}/{number}.{suffix}")
    (folder / "images/bad/x.png").write_bytes(b"no image")
    (folder / "images/notes.txt").write_text("no image")
    (folder / "images/.hidden.png").write_bytes(b"no image")
    return folder


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "gcad_jax.predict", *arguments],
        cwd=runs.ROOT,
        env=runs.environment() | {"PYTHONPATH": str(runs.ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def whole(folder):
    """What the command wrote and said."""
    return folder / "out", command(
        f"--workdir={folder / 'run'}",
        f"--images={folder / 'images'}",
        f"--output={folder / 'out'}",
        "--fpr=0.1",
        "--branches",
    )


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_scores_are_those_of_python(whole, folder):
    rows = table(whole[0] / "scores.csv")
    names = [row["image"] for row in rows]
    assert names == sorted(names)
    assert len(names) == 12
    detector = gcad_jax.load(folder / "run")
    found = detector.predict([row["file"] for row in rows], fpr=0.1)
    assert {row["anomalous"] for row in rows} == {"0", "1"}
    for row, prediction in zip(rows, found, strict=True):
        assert float(row["score"]) == pytest.approx(prediction.score, rel=1e-5)
        assert int(row["anomalous"]) == prediction.anomalous
        assert float(row["p_value"]) == pytest.approx(prediction.p_value, rel=1e-3)
        with Image.open(row["file"]) as image:
            assert (int(row["width"]), int(row["height"])) == image.size
        path = whole[0] / f"anomaly_maps/nut/test/{row['image']}.tiff"
        written = tifffile.imread(path)
        assert written.dtype == np.float32
        np.testing.assert_allclose(written, prediction.anomaly_map, atol=1e-6)
        with Image.open(whole[0] / f"overlays/{row['image']}.png") as drawn:
            assert drawn.width > 4 * 150  # four panels
    assert len(list(whole[0].rglob("*.png"))) == 12
    assert runs.leftovers(whole[0]) == []


def test_columns_of_version_0_1_0_keep_their_places(whole):
    """A further one is the last; of a method without another score it is the score."""
    lines = (whole[0] / "scores.csv").read_text().splitlines()
    before = "image,score,anomalous,p_value,height,width,file"
    assert lines[0] == f"{before},map_maximum"
    for row in table(whole[0] / "scores.csv"):
        assert row["map_maximum"] == row["score"]


def test_what_decides_is_said_where_it_is_not_the_map(folder, tmp_path, capsys):
    path = detector_file.detector_path(tmp_path / "run/nut", 3)
    detector_file.write_detector(path, judged())
    headlines = []
    original = overlay.render_overlay

    def render(image, headline, combined, branches):
        headlines.append((headline, combined.threshold))
        return original(image, headline, combined, branches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlay, "render_overlay", render)
        predict_folder.predict_folder(
            *(str(tmp_path / "run"), str(folder / "images"), str(tmp_path / "out")),
            OutputOptions(0.1, maps=False),
        )
    rows = table(tmp_path / "out/scores.csv")
    found = gcad_jax.load(tmp_path / "run").predict([r["file"] for r in rows], fpr=0.1)
    for row, prediction in zip(rows, found, strict=True):
        assert float(row["score"]) == pytest.approx(prediction.score, rel=1e-5)
        maximum = pytest.approx(prediction.map_maximum, rel=1e-5)
        assert float(row["map_maximum"]) == maximum
        assert int(row["anomalous"]) == prediction.anomalous == (prediction.score > 0.9)
    assert sum(row["score"] != row["map_maximum"] for row in rows) >= 11
    about = json.loads((tmp_path / "out/predict.json").read_text())
    assert about["image_score"] == "mean of blue"
    assert (about["threshold"], about["map_threshold"]) == (0.9, 1.8)
    for headline, contour in headlines:
        assert contour == 1.8, "pixels of the map are marked by the map's threshold"
        assert "0.9 (map " in headline
        assert "contour at 1.8)" in headline
    said = capsys.readouterr().out
    assert "decided by  mean of blue; pixels are marked above 1.8\n" in said
    assert max(map(len, said.splitlines())) <= 80 + len(str(tmp_path))


def test_what_is_not_readable_is_named_and_the_exit_code_says_it(whole):
    assert whole[1].returncode == 4
    error = whole[1].stderr.splitlines()[-1]
    assert error.startswith("error: 1 of 13 images were skipped: ")
    assert "images/bad/x.png is not a readable image" in error
    about = json.loads((whole[0] / "predict.json").read_text())
    assert about["images"] == 12
    assert len(about["skipped"]) == 1
    assert about["threshold"] == 1.8  # 36 of the 39 scores i/20
    assert about["promised_false_positive_rate"] == 0.1


def test_what_it_says(whole):
    said = whole[1].stdout
    assert "seed 3" in said
    assert "threshold   1.8: on average 10 % of good images" in said
    anomalous = sum(int(row["anomalous"]) for row in table(whole[0] / "scores.csv"))
    assert f"{anomalous} of 12 images are anomalous" in said
    assert max(map(len, said.splitlines())) <= 80 + len(str(whole[0]))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--workdir={run} --images={run}", "--images={run} has no image"),
        ("--workdir={run} --images=nowhere", "--images=nowhere: there is no nowhere"),
        ("--workdir=nowhere --images={images}", "nowhere is"),
        ("--workdir={run} --images={images} --fpr=2", "false positive rate is 2"),
    ],
)
def test_mistakes(folder, tmp_path, arguments, sentence, refuse):
    places = {name: folder / name for name in ("run", "images")}
    words = f"{arguments} --output={tmp_path / 'out'}".format(**places).split()
    assert sentence.format(**places) in refuse("predict", *words)
    assert not (tmp_path / "out").exists()


def test_which_files_are_images(folder, tmp_path):
    place = folder / "images"
    all_of_them = find_images(str(place), as_path(tmp_path))
    assert len(all_of_them) == 13
    assert list(all_of_them)[-1] == "good/5"
    assert "11" in find_images(str(place / "bad/1*.png"), as_path(tmp_path))
    two = find_images(f"{place / 'good'},{place / 'bad/0.png'}", as_path(tmp_path))
    assert list(two) == ["5", "0"]
    again = find_images(f"{place / 'good'}, {place / 'good/5.jpg'}", as_path(tmp_path))
    assert list(again) == ["5"]
    with pytest.raises(UserError, match="both be called 0"):
        find_images(f"{place / 'bad'},{place / 'bad'}/../bad/0.png", as_path(tmp_path))


@pytest.mark.parametrize("output", ["", "found"])
def test_what_the_command_wrote_is_no_image(tmp_path, output):
    names = ("a.png", f"{output}/overlays/a.png", f"{output}/anomaly_maps/n/b.tiff")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 3)).save(tmp_path / name)
    assert list(find_images(str(tmp_path), as_path(tmp_path / output))) == ["a"]


def test_images_that_differ_in_their_suffix_keep_it(tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        Image.new("L", (3, 3)).save(tmp_path / name)
    found = find_images(str(tmp_path), as_path(tmp_path / "out"))
    assert list(found) == ["a.jpg", "a.png", "b"]


def test_a_folder_that_cannot_be_written_ends_it(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/overlays").write_text("a file")
    (tmp_path / "out/scores.csv").write_text("of an earlier command")
    detector = gcad_jax.load(folder / "run")
    given = {"a": as_path(folder / "images/bad/0.png")}
    with pytest.raises(UserError, match="overlays"):
        predict_folder.write_predictions(
            detector, given, as_path(tmp_path / "out"), OutputOptions(0.1)
        )
    assert not (tmp_path / "out/scores.csv").exists()


def test_colors_and_contour_are_set_by_the_threshold():
    scores = np.full((8, 8), 1.0)
    scores[2:5, 3:6] = 9.0
    heat = overlay.Heat(scores, low=1.0, threshold=5.0)
    levels = heat.levels(8, 8)
    assert levels[0, 0] == 0
    assert levels[3, 4] == 1
    np.testing.assert_array_equal(overlay.Heat(scores, 1, 9).levels(8, 8)[3, 4], 0.5)
    image = np.full((8, 8, 3), 200, np.uint8)
    marked = overlay.blend_heat(image, heat)
    np.testing.assert_array_equal(marked[0, 0], image[0, 0])
    np.testing.assert_array_equal(marked[1, 4], overlay.OUTLINE[1])
    assert marked[3, 4].tolist() != image[3, 4].tolist()


def test_outline_of_a_square():
    inside = np.zeros((7, 7), bool)
    inside[3, 3] = True
    assert np.argwhere(overlay.find_outline(inside, 1)).tolist() == [
        [2, 3],
        [3, 2],
        [3, 4],
        [4, 3],
    ]
    assert overlay.find_outline(inside, 2).sum() == 12
    assert not overlay.find_outline(np.ones((3, 3), bool), 2).any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 400), (900, 20)])
def test_images_of_any_shape_are_drawn(height, width):
    image = np.full((height, width, 1), 7, np.uint8)
    heat = overlay.Heat(np.zeros((4, 4)), 0.0, 0.0)
    picture = overlay.render_overlay(
        image, "a very long name " * 9, heat, {"A_loc": heat}
    )
    assert max(picture.size) < 4 * (overlay.SIDE + 10)
