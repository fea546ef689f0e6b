"""What a method wants, and the one size that its images get."""

import numpy as np
import pytest
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.core.fields import SIDE
from gcad_jax.data import image_size
from gcad_jax.data.circles import Circles
from gcad_jax.data.folder import Folder
from gcad_jax.data.image_size import ShortSide, as_pair, network_size
from gcad_jax.data.images import read_image, read_image_size, resolve_size


@pytest.mark.parametrize(
    ("wanted", "sizes", "size"),
    [
        (128, (), (128, 128)),
        (128, [(900, 30)], (128, 128)),  # a square, whatever the images are
        ((64, 96), (), (64, 96)),
        ([64, 96], (), (64, 96)),  # JSON has no tuples
        (ShortSide(256), [(1600, 800)], (512, 256)),  # MVTec's juice bottles
        (ShortSide(256), [(800, 1600)], (256, 512)),
        (ShortSide(256), [(480, 640)], (256, 352)),  # 341.3, and 352 is nearest
        (ShortSide(256, 1), [(480, 640)], (256, 341)),
        (ShortSide(256, 16), [(480, 640)], (256, 336)),
        (ShortSide(256), [(700, 700)], (256, 256)),
        (ShortSide(100), [(50, 50)], (96, 96)),  # both are rounded
        (ShortSide(112), [(50, 50)], (128, 128)),  # the larger of two as near
        (ShortSide(8), [(50, 60)], (32, 32)),  # one multiple at least
        # Several: the median of the ratios, whatever the images' numbers of pixels.
        (ShortSide(64), [(10, 10), (40, 80), (3000, 6000)], (64, 128)),
        (ShortSide(64), [(80, 40), (10, 10), (10, 10)], (64, 64)),
        # As many lie as stand: in the middle.
        (ShortSide(64), [(10, 20), (20, 10)], (64, 64)),
        (ShortSide(64), [(10, 10), (10, 40)], (64, 128)),
    ],
)
def test_network_size(wanted, sizes, size):
    assert network_size(wanted, sizes) == size
    if isinstance(wanted, ShortSide):
        turned = [(width, height) for height, width in sizes]
        assert network_size(wanted, turned) == size[::-1]


def test_a_side_that_no_image_may_have_is_refused():
    assert network_size(ShortSide(256), [(10, 320)]) == (256, SIDE)
    with pytest.raises(
        UserError, match=r"8224 x 256 pixels.*8192.*image_size="
    ) as error:
        network_size(ShortSide(256), [(10, 321.25)])
    assert error.value.fields == ("method.image_size",)


def test_a_short_side_is_no_size_before_there_are_images():
    with pytest.raises(TypeError, match="network_size"):
        as_pair(ShortSide(64))
    with pytest.raises(ValueError, match="training images"):
        network_size(ShortSide(64), [])
    assert image_size.size_text((64, 96)) == "96 x 64"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_sizes_are_those_that_are_read(tmp_path, form, orientation):
    """The header's, turned as the camera says."""
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    path = tmp_path / f"photo.{form.lower()}"
    Image.new("RGB", (30, 20)).save(path, form, exif=exif)
    assert read_image_size(path) == read_image(path, 3).shape[:2]
    assert read_image_size(path.read_bytes()) == read_image(path, 3).shape[:2]


def test_a_png_is_not_decoded_for_its_size(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.new("L", (30, 20)).save(path)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    assert read_image_size(path) == (20, 30)


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(b"no image")
    assert resolve_size((64, 96), [path]) == (64, 96)  # it is not opened
    with pytest.raises(UserError, match=r"photo\.png is not a readable image"):
        resolve_size(ShortSide(64), [path])


@pytest.fixture
def photos(tmp_path):
    """Training images of three sizes, most of them twice as high as wide."""
    folder = tmp_path / "photos"
    sizes = [(40, 20), (80, 40), (30, 30), (41, 20), (40, 20)]
    for split, several in (("train", sizes), ("validation", [(9, 50)])):
        (folder / split).mkdir(parents=True)
        for number, (height, width) in enumerate(several):
            picture = Image.new("RGB", (width, height), (number, 0, 0))
            picture.save(folder / split / f"{number}.png")
    (folder / "test" / "good").mkdir(parents=True)
    Image.new("RGB", (70, 10)).save(folder / "test" / "good" / "0.png")
    return Folder(root=str(folder))


@pytest.mark.parametrize(
    ("wanted", "size"),
    [(64, (64, 64)), ((64, 96), (64, 96)), (ShortSide(64), (128, 64))],
)
def test_a_folder_gives_all_images_one_size(photos, wanted, size):
    category = photos.load("photos", wanted, 3)
    assert category.image_size == size
    for images in (category.train, category.validation, category.test):
        assert images.shape[1:] == (*size, 3)
    (test,) = category.test_images
    assert (test.height, test.width) == (10, 70)  # scored at its own size


@pytest.mark.parametrize(
    ("wanted", "size"),
    [(64, (64, 64)), ((64, 96), (64, 96)), (ShortSide(64), (64, 64))],
)
def test_the_circles_are_squares_unless_a_pair_is_given(wanted, size):
    data = Circles(num_train=2, num_validation=1, num_test=1)
    category = data.load("circles", wanted, 1)
    assert category.train.shape == (2, *size, 1)
    assert category.test.shape == (3, *size, 1)
    assert category.validation.dtype == np.uint8
