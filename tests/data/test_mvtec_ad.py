import collections
import shutil

import numpy as np
import pytest
from helpers import trees
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.data.image_size import ShortSide
from gcad_jax.data.mvtec import builders, facts
from gcad_jax.data.mvtec_ad import MvtecAd


def data_of(folder, **fields):
    return MvtecAd(
        root=str(folder.parent),
        categories=(folder.name,),
        cache_dir=str(folder.parent.parent / "cache"),
        **fields,
    )


def zoomed(seed, channels=3, size=16):
    image = Image.fromarray(trees.noise(seed, channels))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def test_round_trip(tmp_path):
    folder = trees.make_ad(tmp_path / "root", defects={"crack": 2, "a_cut": 1})
    category = data_of(folder).load("hazelnut", 16, 3)
    assert (category.dataset, category.name) == ("mvtec_ad", "hazelnut")
    np.testing.assert_array_equal(
        category.test, np.stack([zoomed(s) for s in (200, 201, 400, 300, 301)])
    )
    names = [(image.name, image.kind) for image in category.test_images]
    assert names == [
        ("good/000", "good"),
        ("good/001", "good"),
        ("a_cut/000", "structural_anomalies"),
        ("crack/000", "structural_anomalies"),
        ("crack/001", "structural_anomalies"),
    ]
    image = category.test_images[4]
    (region,) = image.regions
    assert (image.height, image.width) == (24, 16)
    assert (region.defect_name, region.pixel_value, region.area) == ("crack", 255, 12)
    assert (region.saturation_threshold, region.relative_saturation) == (1.0, True)
    np.testing.assert_array_equal(
        region.pixels, np.flatnonzero(trees.rectangle(2, 4, 3, 4, 1))
    )
    assert category.augmentation.vertical_flip


def test_the_aspect_is_that_of_the_training_images(tmp_path):
    """Held out or not, all have the same size."""
    folder = trees.make_ad(tmp_path / "root", train=12)
    trees.save(folder / "train/good/900.png", np.zeros((10, 90, 3), np.uint8))
    category = data_of(folder).load("hazelnut", ShortSide(16, 8), 1)
    assert category.image_size == (24, 16)
    assert len(category.train) + len(category.validation) == 13
    for images in (category.train, category.validation, category.test):
        assert images.shape[1:] == (24, 16, 1)


def test_validation_is_held_out(tmp_path):
    folder = trees.make_ad(tmp_path / "root", train=20)
    original = {zoomed(seed).tobytes() for seed in range(20)}

    def split(**fields):
        category = data_of(folder, **fields).load("hazelnut", 16, 3)
        train = {image.tobytes() for image in category.train}
        validation = {image.tobytes() for image in category.validation}
        assert train | validation == original
        assert not train & validation
        return category, validation

    category, held_out = split()
    assert len(held_out) == 2
    assert any("2 of the 20 training images" in note for note in category.notes)
    assert split()[1] == held_out
    assert split(split_seed=1)[1] != held_out
    assert len(split(validation_fraction=0.25)[1]) == 5


def test_complete_counts_the_images_held_out(tmp_path, monkeypatch):
    folder = trees.make_ad(tmp_path / "root")
    small = facts.DatasetFacts(10, 0, 2, 2, 0, 24, 16, True, True)
    monkeypatch.setitem(facts.AD, "hazelnut", small)
    assert data_of(folder).load("hazelnut", 16, 3).complete


@pytest.mark.parametrize("category", ["grid", "screw", "zipper"])
def test_single_channel_images(tmp_path, category):
    folder = trees.make_ad(tmp_path / "root", category, train=4, channels=1)
    loaded = data_of(folder).load(category, 16, 3)
    assert loaded.test.shape == (4, 16, 16, 3)
    expected = np.repeat(zoomed(200, 1)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(loaded.test[0], expected)
    gray = data_of(folder).load(category, 16, 1)
    np.testing.assert_array_equal(gray.test[0], expected[..., :1])


def logical(folder):
    images = data_of(folder).load(folder.name, 8, 3).test_images
    return [i.name for i in images if i.kind == "logical_anomalies"]


def test_table_4_cable(tmp_path):
    defects = {"cable_swap": 2, "combined": 11, "bent_wire": 1}
    folder = trees.make_ad(tmp_path / "root", "cable", defects=defects)
    assert logical(folder) == [
        "cable_swap/000",
        "cable_swap/001",
        "combined/005",
        "combined/007",
        "combined/009",
    ]


def test_table_4_capsule(tmp_path):
    defects = {"crack": 6, "faulty_imprint": 7}
    folder = trees.make_ad(tmp_path / "root", "capsule", defects=defects)
    assert logical(folder) == ["faulty_imprint/004", "faulty_imprint/005"]


def test_table_4_transistor(tmp_path):
    defects = {"bent_lead": 1, "cut_lead": 2, "damaged_case": 1, "misplaced": 1}
    folder = trees.make_ad(tmp_path / "root", "transistor", defects=defects)
    assert logical(folder) == ["cut_lead/000", "cut_lead/001", "misplaced/000"]


def test_table_4_holds_for_these_categories_only(tmp_path):
    defects = {"combined": 10}
    folder = trees.make_ad(tmp_path / "root", "pill", defects=defects)
    assert logical(folder) == []


def test_published_totals():
    totals = collections.Counter()
    for published in facts.AD.values():
        totals.update(published.counts)
    assert totals["train"] == 3629
    assert totals["test good"] == 467
    assert totals["test logical_anomalies"] == 37  # [P Table 4]
    assert totals["test structural_anomalies"] == 1258 - 37
    loco = collections.Counter()
    for published in facts.LOCO.values():
        loco.update(published.counts)
    # [P Table 1], last row
    assert list(loco.values()) == [1772, 304, 575, 432, 561]


@pytest.mark.parametrize("with_folder", [True, False])
def test_a_missing_mask(tmp_path, with_folder):
    folder = trees.make_ad(tmp_path / "root")
    if with_folder:
        (folder / "ground_truth/crack/001_mask.png").unlink()
    else:
        shutil.rmtree(folder / "ground_truth")
    with pytest.raises(UserError, match=r"has no mask; .*/crack/00._mask.png must"):
        data_of(folder).names()


def test_masks_of_absent_images_are_noted(tmp_path):
    folder = trees.make_ad(tmp_path / "root")
    (folder / "test/crack/001.png").unlink()
    category = data_of(folder).load("hazelnut", 16, 3)
    assert len(category.test_images) == 3
    assert any("masks for 1 images that are not in" in note for note in category.notes)


def test_a_mask_with_other_values(tmp_path):
    folder = trees.make_ad(tmp_path / "root")
    mask = folder / "ground_truth/crack/001_mask.png"
    trees.save(mask, trees.rectangle(0, 0, 2, 2, 1))
    with pytest.raises(UserError, match=r"001_mask.png is a mask of pixel value 1,"):
        data_of(folder).load("hazelnut", 16, 3)


def test_a_truncated_image(tmp_path):
    folder = trees.make_ad(tmp_path / "root")
    path = folder / "test/crack/000.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"crack/000.png is not a readable image"):
        data_of(folder).load("hazelnut", 16, 3)


def test_one_training_image(tmp_path):
    folder = trees.make_ad(tmp_path / "root", train=1)
    with pytest.raises(UserError, match="holds 1 image; at least 2 are needed"):
        data_of(folder).names()


def test_only_training_images(tmp_path):
    folder = trees.make_ad(tmp_path / "root")
    shutil.rmtree(folder / "test")
    category = data_of(folder).load("hazelnut", 16, 3)
    assert category.test.shape == (0, 16, 16, 3)
    assert not category.complete


def test_no_data_says_where_to_get_it():
    with pytest.raises(UserError, match=r"datasets/mvtec-ad .*pass data.root=ROOT"):
        MvtecAd().names()


def test_an_unknown_category(tmp_path):
    folder = trees.make_ad(tmp_path / "root")
    data = MvtecAd(root=str(folder.parent), categories=("hazlenut",))
    with pytest.raises(UserError, match="Did you mean 'hazelnut'"):
        data.names()


def test_wrong_fraction_is_refused_before_anything_is_packed(tmp_path):
    folder = trees.make_ad(tmp_path / "root")
    with pytest.raises(UserError, match=r"validation_fraction is 1\.5"):
        data_of(folder, validation_fraction=1.5).load("hazelnut", 16, 3)
    assert not (tmp_path / "cache").exists()


def test_the_builder_has_fifteen_categories():

    builder = builders.MvtecAdBuilder
    assert builder.name == "mvtec_ad"
    assert len(builder.BUILDER_CONFIGS) == 15


def test_real_hazelnuts(real_data, tmp_path):
    data = MvtecAd(
        root=str(real_data / "mvtec_ad_256"),
        categories=("hazelnut",),
        cache_dir=str(tmp_path),
    )
    category = data.load("hazelnut", 64, 3)
    assert len(category.train) == 45
    assert len(category.validation) == 5
    kinds = collections.Counter(image.kind for image in category.test_images)
    assert kinds == {"good": 2, "structural_anomalies": 8}
    folder = real_data / "mvtec_ad_256/hazelnut/ground_truth"
    for image in category.test_images[2:]:
        mask = np.asarray(Image.open(folder / f"{image.name}_mask.png"))
        (region,) = image.regions
        np.testing.assert_array_equal(region.pixels, np.flatnonzero(mask))
