"""Patches of natural images: what they show, their order, files that are unreadable."""

import numpy as np
import pytest
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.data.input.patches import PatchCutter, PatchStream
from gcad_jax.data.photos import Photos

DRAW = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        pixels = np.full((40, 60, 3), 40 * i, np.uint8)
        (tmp_path / f"sub{i % 2}").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"sub{i % 2}" / f"{i}.png")
    return tmp_path


def loaded(folder, say=print, **fields):
    photos = Photos(root=str(folder), **fields)
    return photos, photos.load(say)


def stream(folder, say=print, **fields):
    _, images = loaded(folder, say, **fields)
    return PatchStream(
        images, np.arange(len(images)), PatchCutter(9, 9, (1, 4)), 4, threads=2
    )


def test_a_patch_of_a_ramp_is_a_part_of_it_at_the_drawn_scale():
    """The gray level is 2 x + 3 y, so that a patch tells where and how large it was."""
    y, x = np.mgrid[:60, :60]
    ramp = np.stack([2 * x + 60, 2 * y + 60, x * 0], axis=-1).astype(np.uint8)
    cut, scales = PatchCutter(9, 9, (2, 6)), []
    for seed in range(40):
        patch = cut(ramp, np.random.default_rng(seed)).astype(float)
        assert patch.shape == (9, 9, 3)
        slope = (patch[4, 7, 0] - patch[4, 1, 0]) / 6 / 2  # source pixels a patch pixel
        assert slope == pytest.approx((patch[7, 4, 1] - patch[1, 4, 1]) / 12, abs=0.2)
        scales.append(60 / slope / 9)
        assert patch.min(axis=(0, 1))[0] >= 60
        assert patch.max() <= 2 * 59 + 60
    assert 1.9 <= min(scales) < 2.7
    assert 4.5 < max(scales) < 6.7


def test_steps_do_not_depend_on_where_the_stream_was_opened(folder):
    first = stream(folder).batches(seed=3, first_step=0)
    whole = [next(first) for _ in range(5)]
    later = stream(folder).batches(seed=3, first_step=3)
    np.testing.assert_array_equal(next(later), whole[3])
    np.testing.assert_array_equal(next(later), whole[4])
    other = stream(folder).batches(seed=4, first_step=0)
    assert any((next(other) != batch).any() for batch in whole)


def test_every_image_is_seen_once_an_epoch(folder):
    batches = stream(folder).batches(seed=0, first_step=0)
    seen = np.concatenate([next(batches)[:, 0, 0, 0] for _ in range(3)])  # two epochs
    for epoch in (seen[:6], seen[6:]):
        assert sorted(epoch) == [0, 40, 80, 120, 160, 200]


def test_held_out_images_are_apart_and_the_same_each_time(folder):
    photos, images = loaded(folder, held_out_fraction=0.3)
    train, held_out = photos.split(len(images))
    assert sorted([*train, *held_out]) == list(range(6))
    assert len(held_out) == 2
    np.testing.assert_array_equal(photos.split(6)[1], held_out)


def test_an_unreadable_image_is_named_once_and_replaced_by_the_next(folder):
    (folder / "sub0" / "2.png").write_bytes(b"no image")
    lines = []
    _, images = loaded(folder, lines.append)
    assert images.read(1).max() == images.read(2).max() == 160  # sub0: 0, 2, 4
    images.read(1)
    assert len(lines) == 1
    assert "2.png" in lines[0]
    assert len(images.unreadable) == 1


def test_an_unreadable_image_is_replaced_by_one_of_its_own_side(folder):
    (folder / "sub0" / "2.png").write_bytes(b"no image")
    _, images = loaded(folder)
    # sub0: 0, 2, 4 and sub1: 1, 3, 5; row 2 is held out with row 0 and comes after it.
    assert images.read(1, np.array([1, 4])).max() == 120
    assert images.read(1, np.array([0, 1])).max() == 0


def test_fixed_patches_are_of_images_far_apart(folder):
    _, images = loaded(folder)
    patches = stream(folder).fixed(0, 3)[:, 0, 0, 0]
    assert patches.tolist() == [images.read(i)[0, 0, 0] for i in (0, 2, 5)]
    seen = stream(folder).fixed(0, 9)[:, 0, 0, 0]
    assert sorted(set(seen.tolist())) == [0, 40, 80, 120, 160, 200]


def test_only_unreadable_images_are_an_error(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(b"no image")
    _, images = loaded(tmp_path)
    with pytest.raises(UserError, match=r"3 images of .* cannot be read, such as"):
        images.read(0)


def test_decoded_images_are_kept_up_to_the_memory(folder):
    one = 40 * 60 * 3
    _, images = loaded(folder, memory_gib=2.5 * one / 2**30)
    for row in range(6):
        images.read(row)
    assert [images.read(i) is images.read(i) for i in range(6)] == [True] * 2 + [
        False
    ] * 4


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "give one of them"),
        ({"root": "x", "tfds_name": "y"}, "give one of them"),
        ({"root": "no/such/folder"}, "is not a folder"),
        ({"root": ".", "held_out_fraction": 1.0}, "between 0 and 1"),
        ({"tfds_name": "no_such_set"}, "cannot be opened"),
    ],
)
def test_wrong_fields_are_one_sentence(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        Photos(**fields).load(print)


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match="has 0 images"):
        Photos(root=str(tmp_path)).load(print)


def test_images_of_a_tfds_set(tmp_path):
    import tensorflow_datasets as tfds

    from gcad_jax.data.mvtec.builders import LocalInfo

    class TinyPhotos(tfds.core.GeneratorBasedBuilder):
        """Three images."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image = tfds.features.Image(encoding_format="png")
            return LocalInfo(
                builder=self, features=tfds.features.FeaturesDict({"image": image})
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(3):
                path = tmp_path / f"{i}.png"
                Image.fromarray(np.full((5, 7, 3), 50 * i, np.uint8)).save(path)
                yield i, {"image": str(path)}

    folder = tmp_path / "sets"
    builder = TinyPhotos(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare()
    images = Photos(tfds_name="tiny_photos", tfds_dir=str(folder)).load(print)
    found = [images.read(row) for row in range(3)]
    assert {image.shape for image in found} == {(5, 7, 3)}
    assert sorted(image.max() for image in found) == [0, 50, 100]
