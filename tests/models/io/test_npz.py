"""Weight files that would unpack to what they cannot hold; small and harmless ones."""

import io
import zipfile

import numpy as np
import pytest

from gcad_jax.core.errors import UserError
from gcad_jax.inference.detector_file import read_detector
from gcad_jax.models.io.npz import read_arrays, write_weights


@pytest.fixture
def unread(monkeypatch):
    """No array is read: what is refused is refused before."""

    def read(*arguments, **fields):
        raise AssertionError("an array was read")

    monkeypatch.setattr(np.lib.format, "read_array", read)
    monkeypatch.setattr(np, "load", read)


def test_a_file_that_unpacks_to_a_thousand_times_its_size(tmp_path, unread):
    path = tmp_path / "seed_0.npz"
    np.savez_compressed(path, header=np.array("{}"), zeros=np.zeros(10**6, np.float32))
    assert path.stat().st_size < 6000
    with pytest.raises(UserError, match=r"would unpack from .* to 4,000,") as error:
        read_detector(path)
    assert str(path) in str(error.value)


def test_an_array_whose_header_says_more_than_there_is(tmp_path, unread):
    array = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (10**6,)}
    np.lib.format.write_array_header_1_0(array, shape)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", array.getvalue() + bytes(40))
    with pytest.raises(UserError, match=r"x\.npy says that its shape is \(1000000,\)"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x09\x00"])
def test_an_entry_that_is_no_array(tmp_path, unread, content):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(UserError, match="damaged"):
        read_arrays(tmp_path / "a.npz")


def test_what_is_written_is_read_compressed_or_not(tmp_path):
    arrays = {"a": np.random.default_rng(0).normal(size=(40, 50)), "b": np.zeros(())}
    write_weights(tmp_path / "a.npz", {}, arrays)
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    for name in ("a.npz", "b.npz"):
        read = read_arrays(tmp_path / name)
        for key, array in arrays.items():
            np.testing.assert_array_equal(read[key], array)
