"""docs/own_images.md word by word: photos, training, decisions, export, elsewhere."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import commands, runs
from PIL import Image

PAGE = (runs.ROOT / "docs/own_images.md").read_text()
SMALLER = ["--config.image_size=32", "--config.method.g=2"]
# The page asks for several commands, each a process.
pytestmark = pytest.mark.long
WITHOUT_THE_PACKAGE = "import sys\nsys.modules['gcad_jax'] = None\n"


def run(arguments, folder):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def afternoon(tmp_path_factory):
    """The folder in which the commands of the page ran, and what the last one said."""
    folder = tmp_path_factory.mktemp("afternoon")
    category = runs.circles().load("circles", 32, 3)
    for place in ("photos/hazelnut", "photos/new"):
        (folder / place).mkdir(parents=True)
    for number, image in enumerate(category.train):
        for place in ("photos/hazelnut", "photos/new"):
            Image.fromarray(image).save(folder / f"{place}/{number}.png")
    defect = Image.fromarray(category.test[-1])
    defect.resize((75, 50)).save(folder / "photos/new/crack.png")
    found = [
        words
        for line in commands.lines(PAGE)
        for words in commands.of_modules(commands.words(line))
    ]
    assert [module for module, *_ in found] == ["main", "predict", "export"]
    for module, *arguments in found:
        smaller = SMALLER if module == "main" else []
        said = run(["-m", f"gcad_jax.{module}", *arguments, *smaller], folder)
    return folder, said


@pytest.fixture(scope="module")
def scores(afternoon):
    with (afternoon[0] / "found/scores.csv").open(newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_held_out_images_score_as_in_training(afternoon, scores):
    details = json.loads((afternoon[0] / "runs/nuts/hazelnut/details.json").read_text())
    [held_out] = details["method_validation"]
    assert len(held_out) == 5  # four tenths of twelve
    found = sorted(float(row["score"]) for row in scores.values())
    for score in held_out:
        assert np.isclose(found, score, rtol=1e-4).any()
    assert len(scores) == 13
    about = json.loads((afternoon[0] / "found/predict.json").read_text())
    assert about["threshold"] == pytest.approx(max(held_out))


def test_the_python_of_the_page_says_the_same_with_and_without_the_package(
    afternoon, scores
):
    with_it, without = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    expected = float(scores["crack"]["score"]), scores["crack"]["anomalous"] == "1"
    score, anomalous, p_value = run(["-c", with_it], afternoon[0]).split()
    assert float(score) == pytest.approx(expected[0], rel=1e-4)
    assert (anomalous == "True") == expected[1]
    assert float(p_value) == pytest.approx(float(scores["crack"]["p_value"]), rel=1e-3)
    said = run(["-c", WITHOUT_THE_PACKAGE + without], afternoon[0])
    score, anomalous = re.sub(r"[\[\]]", "", said).split()
    assert float(score) == pytest.approx(expected[0], rel=1e-4)
    assert (anomalous == "True") == expected[1]
