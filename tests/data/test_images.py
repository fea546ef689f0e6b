import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.data.images import (
    list_images,
    load_images,
    read_image,
    read_mask,
    to_channels,
)
from gcad_jax.data.resize import resize_image

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (5, 7), np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), np.uint8)


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_16_bit(values):  # (H, W) or (H, W, 3) uint16
    """A PNG written by hand, because Pillow writes no 16-bit color."""
    height, width = values.shape[:2]
    color = 0 if values.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def luma(rgb):
    return np.asarray(rgb, float) @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_keep_every_value(format):
    np.testing.assert_array_equal(read_image(encoded(RGB, format), 3), RGB)
    np.testing.assert_array_equal(read_image(encoded(GRAY, format), 1)[..., 0], GRAY)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_formats_are_near(format):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    got = read_image(encoded(flat, format, quality=95), 3)
    assert got.shape == (16, 16, 3)
    assert np.abs(got.astype(int) - flat).max() <= 6


def test_gray_to_rgb_replicates_and_rgb_to_gray_is_luma():
    got = read_image(encoded(GRAY), 3)
    np.testing.assert_array_equal(got, np.repeat(GRAY[..., None], 3, axis=2))
    got = read_image(encoded(RGB), 1)
    assert got.shape == (5, 7, 1)
    assert np.abs(got[..., 0] - luma(RGB)).max() <= 1.0
    np.testing.assert_array_equal(to_channels(RGB, 1), got)
    np.testing.assert_array_equal(to_channels(RGB, 3), RGB)


def test_16_bit_gray_is_scaled_by_value():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    want = np.floor(values / 257 + 0.5)
    for data in (png_16_bit(values), encoded(values), encoded(values, "TIFF")):
        np.testing.assert_array_equal(read_image(data, 1)[..., 0], want)
    assert read_image(png_16_bit(values), 3).shape == (256, 256, 3)


def test_16_bit_color_differs_by_at_most_one():
    values = RNG.integers(0, 65536, (9, 8, 3)).astype(np.uint16)
    got = read_image(png_16_bit(values), 3)
    assert np.abs(got - values / 257).max() <= 1.0
    extremes = np.array([[[0, 65535, 32768]]], np.uint16)
    np.testing.assert_array_equal(
        read_image(png_16_bit(extremes), 3), [[[0, 255, 128]]]
    )


def test_1_bit():
    bits = GRAY > 127
    got = read_image(encoded(Image.fromarray(bits)), 1)
    np.testing.assert_array_equal(got[..., 0], 255 * bits)


def test_palette_is_looked_up_and_its_transparency_is_white():
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    image = Image.frombytes("P", (2, 2), indices.tobytes())
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    want = np.array([[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]])
    np.testing.assert_array_equal(read_image(encoded(image), 3), want)
    want[0, 1] = want[1, 1] = 255
    got = read_image(encoded(image, transparency=1), 3)
    np.testing.assert_array_equal(got, want)


def test_alpha_is_composited_on_white():
    alpha = np.array([[255, 0, 128]], np.uint8)[..., None]
    color = np.array([[[10, 20, 30]] * 3], np.uint8)
    got = read_image(encoded(np.concatenate([color, alpha], axis=2)), 3)
    share = alpha / 255
    assert np.abs(got - (share * color + (1 - share) * 255)).max() <= 1.0
    np.testing.assert_array_equal(got[0, :2], [[10, 20, 30], [255, 255, 255]])
    gray = Image.frombytes(
        "LA", (3, 1), np.concatenate([color[..., :1], alpha], axis=2).tobytes()
    )
    np.testing.assert_array_equal(read_image(encoded(gray), 1)[0, :2, 0], [10, 255])


def test_cmyk_becomes_rgb():
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # red
    got = read_image(encoded(cmyk, "TIFF"), 3)
    np.testing.assert_array_equal(got[0, 0], [255, 0, 0])


@pytest.mark.parametrize(("mode", "words"), [("F", "floating-point"), ("I", "32-bit")])
def test_values_without_a_known_range_are_refused(mode, words):
    data = encoded(Image.new(mode, (4, 4)), "TIFF")
    with pytest.raises(UserError, match=rf"^shot\.tif stores {words}.*16-bit image\.$"):
        read_image(data, 3, "shot.tif")


def test_exif_orientation_is_applied():
    """Orientation 6: the stored image must be turned 90 degrees clockwise."""
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, 16:] = 255  # bright on the right, so below after the turn
    exif = Image.Exif()
    exif[0x0112] = 6
    got = read_image(encoded(stored, "JPEG", quality=95, exif=exif), 3)
    assert got.shape == (32, 16, 3)
    assert got[:12].max() < 30
    assert got[20:].min() > 225


def test_paths_of_both_types_and_symlinks(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(RGB))
    link = tmp_path / "b.png"
    link.symlink_to(path)
    for source in (path, str(path), link):
        np.testing.assert_array_equal(read_image(source, 3), RGB)


def test_what_is_not_an_image_is_named(tmp_path):
    whole = encoded(RNG.integers(0, 256, (64, 64, 3), np.uint8))
    wrong = bytearray(whole)
    wrong[20] ^= 255  # the width, so that the checksum of the header fails
    for name, data in {
        "truncated.png": whole[: len(whole) // 2],
        "cut.jpg": encoded(RGB, "JPEG")[:-40],
        "empty.png": b"",
        "text.png": b"not an image at all",
        "checksum.png": bytes(wrong),
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(UserError) as error:
            read_image(path, 3)
        sentence = str(error.value)
        assert sentence.startswith(f"{path} is not a readable image: ")
        assert sentence.endswith("; replace or remove it.")
        assert "\n" not in sentence
    with pytest.raises(UserError, match=r"truncated"):
        read_image(tmp_path / "truncated.png", 3)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png does not exist"):
        read_image(tmp_path / "gone.png", 3)
    with pytest.raises(UserError, match="is not a readable image"):
        read_image(tmp_path, 3)


def test_channels_are_one_or_three():
    with pytest.raises(UserError, match="channels is 4; allowed are 3"):
        read_image(encoded(RGB), 4)


def test_mask_values_are_kept():
    mask = np.zeros((5, 7), np.uint8)
    mask[1, 2:5] = 247
    color = np.repeat(mask[..., None], 3, axis=2)
    opaque = np.concatenate([color, np.full((5, 7, 1), 255, np.uint8)], axis=2)
    for form in (mask, color, opaque):
        np.testing.assert_array_equal(read_mask(encoded(form), (5, 7)), mask)
    bits = read_mask(encoded(Image.fromarray(mask > 0)), (5, 7))
    np.testing.assert_array_equal(bits, 255 * (mask > 0))


def test_mask_of_another_size_names_both():
    with pytest.raises(UserError) as error:
        read_mask(encoded(GRAY), (7, 5), "m.png", "photo.jpg")
    sentence = str(error.value)
    for part in ("m.png", "7 x 5 pixels", "photo.jpg", "5 x 7"):
        assert part in sentence


def test_colored_transparent_and_16_bit_masks_are_refused():
    with pytest.raises(UserError, match=r"^m\.png is a mask with colors"):
        read_mask(encoded(RGB), (5, 7), "m.png")
    clear = np.zeros((5, 7, 4), np.uint8)
    with pytest.raises(UserError, match="colors or transparency"):
        read_mask(encoded(clear), (5, 7))
    with pytest.raises(UserError, match="8 bits"):
        read_mask(encoded(GRAY.astype(np.uint16)), (5, 7))
    with pytest.raises(UserError, match="is not a readable image"):
        read_mask(b"broken", (5, 7), "m.png")


def test_load_keeps_the_order_and_the_sizes(tmp_path):
    paths, want = [], []
    for i in range(20):
        value, height = 10 * i, 9 + i
        path = tmp_path / f"{i:02d}.png"
        path.write_bytes(encoded(np.full((height, 12, 3), value, np.uint8)))
        paths.append(path)
        want.append((value, (height, 12)))
    images, sizes = load_images(paths, 8, 3)
    assert images.shape == (20, 8, 8, 3)
    assert images.dtype == np.uint8
    assert sizes == [size for _, size in want]
    for image, (value, _) in zip(images, want, strict=True):
        assert (image == value).all()
    gray, _ = load_images([path.read_bytes() for path in paths], 8, 1)
    np.testing.assert_array_equal(gray, images[..., :1])


def test_load_nothing_and_name_what_is_broken():
    images, sizes = load_images([], 8, 3)
    assert images.shape == (0, 8, 8, 3)
    assert sizes == []
    with pytest.raises(UserError, match=r"^second is not a readable image"):
        load_images([encoded(RGB), b"x", b"y"], 8, 3, ["first", "second", "third"])


def test_list_images(tmp_path):
    for name in ("b.PNG", "a.jpeg", "c.Tif", ".hidden.png", "notes.txt", "d.webp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    os.symlink(tmp_path / "b.PNG", tmp_path / "link.bmp")
    names = [path.name for path in list_images(tmp_path)]
    assert names == ["a.jpeg", "b.PNG", "c.Tif", "d.webp", "link.bmp"]
    with pytest.raises(UserError, match="is not a folder"):
        list_images(tmp_path / "none")


def test_a_real_image(real_data):
    """A photograph of MVTec LOCO AD: the plain array, and Pillow's own reduction."""
    path = next((real_data / "mvtec_loco_quarter").rglob("train/good/000.png"))
    with Image.open(path) as image:
        raw = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(path, 3), raw)
    means = resize_image(raw, 64).mean(axis=(0, 1))
    np.testing.assert_allclose(means, raw.mean(axis=(0, 1)), atol=1.0)
