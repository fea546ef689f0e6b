import dataclasses

import numpy as np
import pytest
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.data.folder import Folder
from gcad_jax.data.input.augment import Augmentation


def write(path, value=100, size=(12, 20), channels=3):
    """An image of one value, (H, W) = size; a mask with channels=0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, channels) if channels else size
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


def write_mask(path, rows, size=(12, 20), value=255):
    """The first `rows` rows are anomalous."""
    mask = np.zeros(size, np.uint8)
    mask[:rows] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


@pytest.fixture
def bottles(tmp_path):
    """A complete category: 4 training, 2 validation, 6 test images, 3 masks."""
    root = tmp_path / "bottles"
    for i in range(4):
        write(root / "train" / f"{i}.png", 10 * i)
    for i in range(2):
        write(root / "validation" / "good" / f"{i}.png", 100 + i)
    write(root / "test" / "good" / "0.png", 200)
    write(root / "test" / "crack" / "0.png", 201, size=(30, 20))
    write(root / "test" / "crack" / "1.jpg", 202)
    write(root / "test" / "Logical_missing" / "0.png", 203)
    write(root / "test" / "Logical_missing" / "1.png", 204)
    write(root / "test" / "dent" / "7.png", 205)
    truth = root / "ground_truth"
    write_mask(truth / "crack" / "0.png", 3, size=(30, 20))
    write_mask(truth / "dent" / "7_mask.png", 2, value=1)
    write_mask(truth / "Logical_missing" / "0" / "000.png", 1)
    write_mask(truth / "Logical_missing" / "0" / "001.png", 5)
    return root


def load(root, **fields):
    data = Folder(root=str(root), **fields)
    (name,) = data.names()
    return data.load(name, 8, 3)


def refused(root, *words, **fields):
    with pytest.raises(UserError) as error:
        load(root, **fields)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_of_good_images_is_enough(tmp_path):
    root = tmp_path / "screws"
    for i in range(50):
        write(root / f"{i:02d}.png", i)
    (root / "readme.txt").write_text("not an image")
    got = load(root)
    assert (got.dataset, got.name, got.complete) == ("folder", "screws", False)
    assert got.train.shape == (45, 8, 8, 3)
    assert got.validation.shape == (5, 8, 8, 3)
    assert got.test.shape == (0, 8, 8, 3)
    assert got.test_images == ()
    values = [*got.train[:, 0, 0, 0], *got.validation[:, 0, 0, 0]]
    assert sorted(values) == list(range(50))
    assert got.notes == (
        "validation: 5 of 50 images held out (10 %, split_seed 0)",
        "no test images: nothing is evaluated",
    )
    other = load(root, split_seed=1, validation_fraction=0.2)
    assert len(other.validation) == 10
    assert "(20 %, split_seed 1)" in other.notes[0]


def test_a_complete_category(bottles):
    got = load(bottles)
    assert list(got.train[:, 0, 0, 0]) == [0, 10, 20, 30]
    assert list(got.validation[:, 0, 0, 0]) == [100, 101]
    assert [(e.name, e.kind, e.height, e.width) for e in got.test_images] == [
        ("good/0", GOOD, 12, 20),
        ("Logical_missing/0", LOGICAL, 12, 20),
        ("Logical_missing/1", LOGICAL, 12, 20),
        ("crack/0", STRUCTURAL, 30, 20),
        ("crack/1", STRUCTURAL, 12, 20),
        ("dent/7", STRUCTURAL, 12, 20),
    ]
    tops = got.test[:, 0, 0, 0].astype(int)
    assert np.abs(tops - [200, 203, 204, 201, 202, 205]).max() <= 1
    assert got.notes == (
        "2 of 5 anomalous test images have no mask: they count for the image score "
        "and not for localization",
    )


def test_masks(bottles):
    entries = {entry.name: entry for entry in load(bottles).test_images}
    areas = {n: [r.area for r in entry.regions] for n, entry in entries.items()}
    assert areas == {
        "good/0": [],
        "Logical_missing/0": [20, 100],
        "Logical_missing/1": [],
        "crack/0": [60],
        "crack/1": [],
        "dent/7": [40],  # any value that is not 0
    }
    assert {n for n, entry in entries.items() if not entry.annotated} == {
        "Logical_missing/1",
        "crack/1",
    }
    crack = entries["crack/0"].regions[0]
    assert crack.pixels.dtype == np.int32
    np.testing.assert_array_equal(crack.pixels, np.arange(60))
    assert (crack.saturation_threshold, crack.relative_saturation) == (1.0, True)
    regions = [r for entry in entries.values() for r in entry.regions]
    values = {r.defect_name: r.pixel_value for r in regions}
    assert set(values) == {"Logical_missing", "crack", "dent"}
    assert len(set(values.values())) == 3


def test_train_and_validation_may_hold_a_folder_good(tmp_path):
    root = tmp_path / "nuts"
    for i in range(10):
        write(root / "train" / "good" / f"{i}.png", i)
    write(root / "validation" / "0.png", 99)
    got = load(root)
    assert len(got.train) == 10
    assert list(got.validation[:, 0, 0, 0]) == [99]


def test_several_categories(tmp_path, bottles):
    for i in range(3):
        write(tmp_path / "a_nuts" / f"{i}.png", i)
    (tmp_path / "empty").mkdir()
    data = Folder(root=str(tmp_path))
    assert data.names() == ("a_nuts", "bottles")
    assert data.load("a_nuts", 8, 1).train.shape == (2, 8, 8, 1)
    assert data.load("bottles", 8, 3).name == "bottles"
    data.categories = ("bottles",)
    assert data.names() == ("bottles",)
    data.categories = ("bottle",)
    with pytest.raises(UserError, match=r"'bottle'; .* Did you mean 'bottles'\?"):
        data.names()
    with pytest.raises(UserError, match="'nothing'; allowed are 'a_nuts', 'bottles'"):
        data.load("nothing", 8, 3)


def test_augmentation_is_what_the_fields_say(bottles):
    assert load(bottles).augmentation == Augmentation(False, False, 3.0, 0.1)
    got = load(bottles, vertical_flip=True, rotation_degrees=0.0, jitter=0.2)
    assert got.augmentation == Augmentation(True, False, 0.0, 0.2)
    refused(bottles, "jitter is 2.0", jitter=2.0)


def test_root_empty_missing_or_without_images(tmp_path):
    refused("", "data.root is empty. Point data.root=FOLDER at a folder")
    refused(tmp_path / "none", "none", "is not a folder", "data.root=FOLDER")
    refused(tmp_path, "holds no images (it is empty)", ".png, .jpg")
    (tmp_path / "movie.avi").write_bytes(b"")
    refused(tmp_path, "holds no images (movie.avi)", "known suffixes are .png")
    (tmp_path / "test").mkdir()
    refused(tmp_path, "has test/ but no train/")


def test_empty_train_and_validation(tmp_path):
    (tmp_path / "train").mkdir()
    refused(tmp_path, f"{tmp_path / 'train'} holds no images")
    for i in range(3):
        write(tmp_path / "train" / f"{i}.png")
    (tmp_path / "validation" / "good").mkdir(parents=True)
    refused(tmp_path, f"{tmp_path / 'validation'} holds no images (good)")


def test_one_training_image(tmp_path):
    write(tmp_path / "only.png")
    refused(tmp_path, "a single training image, 'only.png'; at least 2")


def test_good_images_in_two_places(tmp_path):
    write(tmp_path / "train" / "0.png")
    write(tmp_path / "train" / "good" / "1.png")
    refused(tmp_path, "images and a folder good/")


def test_unreadable_image(bottles):
    path = bottles / "train" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    refused(bottles, f"{path} is not a readable image")


def test_test_images_without_a_kind_or_with_one_name(bottles):
    write(bottles / "test" / "crack" / "0.bmp")
    refused(bottles, "crack/0.png and 0.bmp beside it differ in their suffix only")
    (bottles / "test" / "crack" / "0.bmp").unlink()
    write(bottles / "test" / "5.png")
    refused(bottles, "test/5.png is in no folder that says what it shows")


def test_mask_of_another_size(bottles):
    write_mask(bottles / "ground_truth" / "crack" / "0.png", 3)
    refused(bottles, "crack/0.png", "20 x 12", "20 x 30", "test/crack/0.png")


def test_empty_and_unreadable_mask(bottles):
    path = bottles / "ground_truth" / "dent" / "7_mask.png"
    write_mask(path, 0)
    refused(bottles, f"{path} is an empty mask")
    path.write_bytes(b"broken")
    refused(bottles, f"{path} is not a readable image")


@pytest.mark.parametrize(
    "name", ["crack/9.png", "crack/9/000.png", "spots/0.png", "good/0.png"]
)
def test_mask_without_test_image(bottles, name):
    write_mask(bottles / "ground_truth" / name, 2)
    refused(bottles, "is a mask without an anomalous test image", "test/")


def test_ambiguous_lossy_and_missing_masks(bottles):
    truth = bottles / "ground_truth" / "dent"
    write_mask(truth / "7" / "000.png", 2)
    refused(bottles, "dent/7", "7_mask.png are both masks of test image '7'")
    (truth / "7_mask.png").unlink()
    (truth / "7" / "000.png").rename(truth / "7" / "notes.txt")
    refused(bottles, "dent/7 holds no images (notes.txt)")
    write_mask(truth / "7" / "000.jpg", 2)
    refused(bottles, "000.jpg is a mask in a lossy format")


def test_a_stem_may_end_in_mask(bottles):
    write(bottles / "test" / "dent" / "8_mask.png")
    write_mask(bottles / "ground_truth" / "dent" / "8_mask.png", 4)
    entries = {entry.name: entry for entry in load(bottles).test_images}
    assert entries["dent/8_mask"].regions[0].area == 80


def test_config_fields_can_be_overridden():
    """Flags assign fields, so the class is not frozen; all have defaults."""
    data = Folder()
    for field in dataclasses.fields(data):
        setattr(data, field.name, getattr(data, field.name))


def test_real_images(real_data, tmp_path):
    """Files of MVTec LOCO AD in this layout, their masks as folders."""
    source = real_data / "mvtec_loco_quarter" / "juice_bottle"
    root = tmp_path / "juice_bottle"
    root.symlink_to(source, target_is_directory=True)
    got = Folder(root=str(root)).load("juice_bottle", 32, 3)
    folders = ("good", "logical_anomalies", "structural_anomalies")
    want = [len(list((source / "test" / f).glob("*.png"))) for f in folders]
    kinds = [entry.kind for entry in got.test_images]
    assert [kinds.count(kind) for kind in (GOOD, LOGICAL, STRUCTURAL)] == want
    assert len(got.train) == len(list((source / "train" / "good").glob("*.png")))
    masks = list((source / "ground_truth").rglob("*.png"))
    assert sum(len(entry.regions) for entry in got.test_images) == len(masks)
