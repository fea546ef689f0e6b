"""Whole runs on images that are no squares, and what is said where that cannot be."""

import dataclasses
import json

import numpy as np
import pytest
import tifffile
from helpers import runs, small_classifier
from PIL import Image

import gcad_jax
from gcad_jax.config import Experiment, validation
from gcad_jax.config.serialization import differences
from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import Category
from gcad_jax.data.folder import Folder
from gcad_jax.data.image_size import ShortSide
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.data.resize import resize_image
from gcad_jax.methods.autoencoder import AE
from gcad_jax.methods.fanogan import FAnoGAN
from gcad_jax.methods.gcad import GCAD
from gcad_jax.methods.mnad import MNAD
from gcad_jax.methods.spade import SPADE
from gcad_jax.methods.student_teacher import StudentTeacher
from gcad_jax.methods.vae import VAE
from gcad_jax.methods.variation_model import VariationModel
from gcad_jax.runs import plan, train_and_evaluate
from gcad_jax.runs.data_digest import digest_category

SQUARE_METHODS = [AE, FAnoGAN, GCAD, MNAD, StudentTeacher, VAE, VariationModel]


@pytest.fixture(scope="module", autouse=True)
def _small_network():
    with pytest.MonkeyPatch.context() as patch:
        small_classifier.stand_in(patch, "efficientnet_lite0")
        yield


def spade(**fields):
    small = {"backbone": "efficientnet_lite0", "weights": "imagenet", "K": 2}
    return SPADE(**{**small, "inference_batch_size": 4, **fields})


@pytest.fixture
def plates(tmp_path):
    """Plates of several aspects, most twice as wide as high; two with a dark spot."""
    root = tmp_path / "plates"
    random = np.random.default_rng(0)
    sizes = [(40, 80), (60, 120), (50, 50), (42, 80), (100, 200), (40, 81)]

    def write(path, size, spot=None):
        pixels = random.integers(180, 200, (*size, 3), np.uint8)
        if spot:
            pixels[spot] = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return size

    for number, size in enumerate(sizes):
        write(root / f"train/{number}.png", size)
    for number in range(3):
        write(root / f"validation/{number}.png", (40, 80))
        write(root / f"test/good/{number}.png", (40, 80))
    for number, size in enumerate([(40, 80), (90, 60)]):
        height, width = size
        spot = np.s_[height // 2 : height // 2 + 9, width // 2 : width // 2 + 9]
        write(root / f"test/spot/{number}.png", size, spot)
        mask = np.zeros(size, np.uint8)
        mask[spot] = 255
        (root / "ground_truth/spot").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / f"ground_truth/spot/{number}.png")
    return Folder(root=str(root))


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"image_size": (64, 96)}, (64, 96)),
        ({"image_size": 32, "keep_aspect": True}, (32, 64)),
        ({"image_size": 64}, (64, 64)),
    ],
)
def test_a_run_from_images_to_predictions(plates, tmp_path, fields, size, capsys):
    config = Experiment(data=plates, method=spade(**fields), figure_images=2)
    config.write_maps = True
    path = tmp_path / "run"
    (result,) = train_and_evaluate.run(config, str(path))
    said = capsys.readouterr().out
    height, width = size
    assert f"zoomed to {width} x {height}" in said
    assert result.combined[0].auroc["structural_anomalies"] == 1.0
    assert result.combined[0].auspro["structural_anomalies"]["0.3"] > 0.5
    kept = f"images were zoomed to {width} x {height} pixels"
    assert (kept in (path / "report.md").read_text()) == ("keep_aspect" in fields)

    detector = gcad_jax.load(path)
    assert detector.stored.image_size == size
    files = sorted((tmp_path / "plates/test/spot").iterdir())
    for file, found in zip(files, detector.predict(files), strict=True):
        assert found.network_maps["A"].shape == size
        written = f"anomaly_maps/seed_0/plates/test/spot/{file.stem}.tiff"
        saved = tifffile.imread(path / "plates" / written)
        assert saved.shape == (found.height, found.width)
        np.testing.assert_allclose(saved, found.anomaly_map, rtol=1e-4, atol=1e-4)
    for name in ("maps.png", "worst.png", "best.png"):
        assert (path / "plates" / name).stat().st_size > 0

    # The same command again keeps it, however the size is written.
    settings = json.loads((path / "config.json").read_text())
    wanted = settings["method"]["image_size"]
    assert wanted == (list(size) if isinstance(fields["image_size"], tuple) else wanted)
    again = dataclasses.replace(config)
    assert train_and_evaluate.run(again, str(path)) is not None
    assert "results are kept" in capsys.readouterr().out


def test_the_plan_says_the_size(plates, tmp_path, capsys):
    config = Experiment(data=plates, method=spade(image_size=32, keep_aspect=True))
    plan.plan_run(config, str(tmp_path / "run"))
    said = capsys.readouterr().out
    assert "zoomed to 64 x 32 (width x height)" in said
    assert "the median aspect of the training images" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", SQUARE_METHODS)
def test_methods_of_squares_say_so(kind):
    method = kind(image_size=(64, 96))
    said = rf"image_size is \(64, 96\), but {method.title} takes squares alone: .*=64"
    with pytest.raises(UserError, match=said):
        method.validate()
    config = Experiment(data=runs.circles(), method=kind(), image_size=(64, 96))
    with pytest.raises(UserError, match="takes squares alone"):
        validation.resolve(config)


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((64,), "2 whole numbers: height, width"),
        ((64, 96, 128), "2 whole numbers: height, width"),
        ((64, 90), "image_size is 90; .*multiple of 16"),
        ((64, 0), "image_size is 0"),
        (2.5, "a whole number or a tuple of height and width"),
        (True, "a whole number or a tuple of height and width"),
    ],
)
def test_sizes_that_are_none_are_named(size, says):
    config = Experiment(data=runs.circles(), method=spade(), image_size=size)
    with pytest.raises(UserError, match=says):
        validation.resolve(config)


def test_the_size_of_an_experiment_is_the_methods():
    config = Experiment(data=runs.circles(), method=spade(), image_size=(64, 96))
    resolved = validation.resolve(config)
    assert resolved.method.image_size == resolved.image_size == (64, 96)
    config = Experiment(data=runs.circles(), method=spade(keep_aspect=True))
    config.image_size = 64
    resolved = validation.resolve(config)
    assert resolved.method.input_size == ShortSide(64)


@dataclasses.dataclass
class Squares:
    """A data set of somebody else, that was written for squares alone."""

    categories: tuple[str, ...] = ("a",)

    def names(self):
        return self.categories

    def load(self, category: str, image_size: int, channels: int) -> Category:
        images = np.zeros((3, image_size, image_size, channels), np.uint8)
        return Category(
            "own", category, images, images, images[:0], (), Augmentation(), False
        )


@dataclasses.dataclass
class Zoomed(Squares):
    """Another, that leaves the zoom to this package."""

    def load(self, category: str, image_size: int, channels: int) -> Category:
        drawn = np.random.default_rng(0).integers(0, 256, (20, 30, channels), np.uint8)
        images = np.stack([resize_image(drawn, image_size)] * 3)
        return Category(
            "own", category, images, images, images[:0], (), Augmentation(), False
        )


def test_data_sets_that_know_squares_alone():
    load = train_and_evaluate.load_images_of
    for kind in (Squares, Zoomed):
        square = load(kind(), "a", spade(image_size=32))
        assert square.image_size == (32, 32)
        says = rf"{kind.__name__} does not load images whose aspect is kept \(TypeError"
        with pytest.raises(UserError, match=says) as error:
            load(kind(), "a", spade(image_size=32, keep_aspect=True))
        assert "method.keep_aspect=False and method.image_size=32" in str(error.value)
        assert error.value.fields == ("method.keep_aspect", "method.image_size")
    with pytest.raises(UserError, match="does not load images of 64 x 32 pixels"):
        load(Squares(), "a", spade(image_size=(32, 64)))
    assert load(Zoomed(), "a", spade(image_size=(32, 64))).image_size == (32, 64)


def test_an_error_that_is_not_about_the_aspect_stays_itself():
    @dataclasses.dataclass
    class Broken(Squares):
        def load(self, category: str, image_size: int, channels: int) -> Category:
            raise ValueError("no label of this name")

    for method in (spade(image_size=32, keep_aspect=True), spade(image_size=(32, 64))):
        with pytest.raises(ValueError, match=r"^no label of this name$"):
            train_and_evaluate.load_images_of(Broken(), "a", method)


def test_a_side_that_is_no_multiple_is_rounded_openly(plates):
    load = train_and_evaluate.load_images_of
    name = plates.names()[0]
    note = load(plates, name, spade(image_size=48, keep_aspect=True)).notes[0]
    assert "64 pixels (width x height): the median aspect of the training" in note
    assert "image_size=48 was rounded, for both sides are multiples of 32" in note
    note = load(plates, name, spade(image_size=32, keep_aspect=True)).notes[0]
    assert "rounded" not in note


def test_a_method_without_input_size_takes_squares():
    """As methods of version 0.1.0, which may inherit from nothing."""

    class Former:
        image_size, channels = 32, 3

    loaded = train_and_evaluate.load_images_of(Zoomed(), "a", Former())
    assert loaded.image_size == (32, 32)


def test_a_turned_image_has_another_digest():
    """Of equal bytes too; what 0.1.0 digested, squares, stays as it was."""
    data = Squares()
    wide, tall = (
        dataclasses.replace(
            data.load("a", 8, 3), **dict.fromkeys(("train", "validation"), images)
        )
        for images in (np.zeros((2, 4, 16, 3), np.uint8), np.zeros((2, 16, 4, 3), "u1"))
    )
    for split in ("train", "validation"):
        assert digest_category(wide)[split] != digest_category(tall)[split]


def test_a_workdir_from_before_keep_aspect_is_continued():
    """It was trained on squares, and a config that says so is the same."""
    old = {"method": {"class": "SPADE", "image_size": 224}}
    new = {"method": {"class": "SPADE", "image_size": 224, "keep_aspect": False}}
    assert differences(old, new) == []
    new["method"]["keep_aspect"] = True
    assert differences(old, new) == ["method.keep_aspect: False -> True"]
    assert differences(old, old) == []
