"""The reader of PyTorch's files: tensors, and nothing that a file might call."""

import collections
import functools
import io
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
from helpers.torch_files import Stored, Tensor, saved, tensors

from gcad_jax.models.io import pickled
from gcad_jax.models.io.pickled import read_tensors

FORMATS = pytest.mark.parametrize("archive", [True, False])


def read(content, **options):
    return read_tensors(io.BytesIO(saved(content, **options)))


@FORMATS
def test_arrays_of_every_kind_come_back(archive):
    draw = np.random.default_rng(0)
    values = draw.normal(size=(3, 4, 5))
    arrays = {
        "a": values.astype(np.float32),
        "turned": np.asfortranarray(values.astype(np.float64)),
        "half": values.astype(np.float16),
        "brain": values.astype(ml_dtypes.bfloat16),
        "scalar": np.array(7),
        "empty": np.zeros((0, 3), np.float32),
    }
    found = read(tensors(arrays), archive=archive)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@FORMATS
def test_tensors_may_share_numbers(archive):
    stored = Stored("0", np.arange(12, dtype=np.float32))
    content = {
        "rows": Tensor(stored, 2, (2, 3), (4, 1)),
        "all": Tensor(stored, 0, (12,), (1,)),
    }
    found = read(content, archive=archive)
    np.testing.assert_array_equal(found["rows"], [[2, 3, 4], [6, 7, 8]])
    np.testing.assert_array_equal(found["all"], np.arange(12))


@FORMATS
def test_weights_in_a_larger_dict_and_versions_of_layers(archive):
    state = tensors({"a": np.ones(2, np.float32), "b": np.zeros(3, np.float32)})
    optimizer = {"b": state.pop("b")}
    state._metadata = collections.OrderedDict(a={"version": 2})
    content = {"epoch": 3, "state_dict": state, "optimizer": optimizer}
    assert list(read(content, archive=archive)) == ["a"]


class Calls:
    """What a hostile file would do, here something harmless."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@FORMATS
@pytest.mark.parametrize(
    "harmless",
    [
        Calls(print, "ran"),
        Calls(os.getcwd),
        Calls(getattr, "text", "upper"),
        Calls(functools.partial, int),
        Calls(np.zeros, 2),
        print,
        collections.Counter(),
    ],
)
def test_other_names_are_refused(archive, harmless, capsys):
    content = {"a": harmless, **tensors({"b": np.ones(2, np.float32)})}
    with pytest.raises(pickle.UnpicklingError, match="is no part of a tensor"):
        read(content, archive=archive)
    assert "ran" not in capsys.readouterr().out


def program(*opcodes):
    return io.BytesIO(b"\x80\x02" + b"".join(opcodes) + b".")


@pytest.mark.parametrize(
    "name",
    [
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch FloatStorage",
    ],
)
def test_a_file_cannot_change_what_stands_for_a_name(name):
    module, _, what = name.partition(" ")
    state = b"}X\x08\x00\x00\x00functionNs"  # {"function": None}
    opcodes = f"c{module}\n{what}\n".encode(), state, b"b"
    before = dict(pickled.STAND_INS)
    with pytest.raises(pickled.DAMAGE):
        pickled.TensorUnpickler(program(*opcodes)).load()
    assert before == pickled.STAND_INS


def test_a_kind_of_number_cannot_be_called():
    with pytest.raises(TypeError, match="not callable"):
        pickled.TensorUnpickler(program(b"ctorch\nFloatStorage\n)R")).load()


@FORMATS
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (1, (2, 2), (2, 1)),
        (0, (5,), (1,)),
        (0, (10**9,), (0,)),  # one number, repeated
        (0, (2,), (-1,)),
        (-1, (2,), (1,)),
        (0, (2, 2), (2,)),
        (0, (1.5,), (1,)),
    ],
)
def test_a_tensor_never_reaches_beyond_its_numbers(archive, offset, shape, strides):
    stored = Stored("0", np.arange(4, dtype=np.float32))
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        read({"a": Tensor(stored, offset, shape, strides)}, archive=archive)


@FORMATS
@pytest.mark.parametrize("size", [3, 5, -1, 4.0, True, 10**12])
def test_a_storage_has_the_size_that_it_says(archive, size):
    stored = Stored("0", np.arange(4, dtype=np.float32), size)
    with pytest.raises(pickle.UnpicklingError, match="a storage has a"):
        read({"a": Tensor(stored, 0, (1,), (1,))}, archive=archive)


@FORMATS
def test_one_name_is_of_one_storage(archive):
    of_kinds = [Stored("0", np.zeros(4, dtype)) for dtype in (np.float32, np.int64)]
    content = {str(i): Tensor(s, 0, (1,), (1,)) for i, s in enumerate(of_kinds)}
    with pytest.raises(pickle.UnpicklingError, match="two storages have one name"):
        read(content, archive=archive)


def test_compressed_archives_are_refused():
    content = tensors({"a": np.zeros(9, np.float32)})
    with pytest.raises(pickle.UnpicklingError, match=r"is compressed or encrypted"):
        read(content, compression=zipfile.ZIP_DEFLATED)


@FORMATS
def test_other_contents_and_another_byte_order_are_named(archive):
    for content, sentence in (
        ({"a": 3}, "a is a int; needed are tensors"),
        ([1], "holds a list; needed is a state dict"),
    ):
        with pytest.raises(pickle.UnpicklingError, match=sentence):
            read(content, archive=archive)
    with pytest.raises(pickle.UnpicklingError, match="big-endian"):
        read(tensors({"a": np.ones(1)}), archive=archive, little=False)


@FORMATS
def test_a_file_that_was_cut_or_is_another_is_an_error_that_is_known(archive):
    data = saved(tensors({"a": np.ones(99, np.float32)}), archive=archive)
    for length in range(0, len(data), 31):
        with pytest.raises(pickled.DAMAGE):
            read_tensors(io.BytesIO(data[:length]))
    with pytest.raises(pickled.DAMAGE):
        read_tensors(io.BytesIO(pickle.dumps({"a": 1})))
