"""Tensors of a file that torch.save wrote, without PyTorch.

Both formats: the zip archive of PyTorch 1.6 and newer, and the row of pickles of older
ones. A pickle is a program that calls what it names. This reader knows the few names of
which state dicts are made, and calls its own stand-ins; any other name is refused.
"""

import io
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

WRAPPERS = ("state_dict", "model")  # where trainers keep the weights in a larger dict
ARCHIVE = b"PK"
MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format
DTYPES: Mapping[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
# What a damaged or hostile file makes Python raise.
DAMAGE: tuple[type[Exception], ...] = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error),
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError),
    *(OverflowError, MemoryError, RecursionError, NotImplementedError, OSError),
)
Numbers = Mapping[str, np.ndarray]  # of each storage, by its key


class Kind(NamedTuple):
    """A type of storage; no np.dtype, whose state a file could set."""

    name: str


class Storage(NamedTuple):
    """A row of numbers that tensors look at. size: how many the pickle says."""

    key: str
    dtype: np.dtype[Any]
    size: int

    def numbers(self, row: bytes) -> np.ndarray:
        """The numbers that these bytes are; raises UnpicklingError if not `size`."""
        if len(row) != self.size * self.dtype.itemsize:
            raise pickle.UnpicklingError("a storage has another size than it says")
        return np.frombuffer(row, self.dtype)


class Tensor(NamedTuple):
    """Which numbers of a storage are its values; all sizes count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def values(self, numbers: Numbers) -> np.ndarray:
        """A copy of them; raises UnpicklingError where they are not in the storage."""
        row = numbers[self.storage.key]
        sizes = (self.offset, *self.shape, *self.strides)
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise pickle.UnpicklingError("a tensor has sizes that are no sizes")
        extents = zip(self.shape, self.strides, strict=True)
        end = self.offset + 1 + sum((n - 1) * step for n, step in extents)
        count = math.prod(self.shape)
        if not count:
            return np.zeros(self.shape, row.dtype)
        # Strides of 0 could repeat few numbers as often as a file likes.
        if max(end, count) > len(row):
            raise pickle.UnpicklingError("a tensor has more values than its storage")
        steps = [step * row.itemsize for step in self.strides]
        window = row[self.offset :]
        return np.array(
            np.lib.stride_tricks.as_strided(window, self.shape, steps, writeable=False)
        )


class StateDict(dict[Any, Any]):
    """Stands for an OrderedDict."""

    def __setstate__(self, state: object) -> None:
        """Drops what a module hung on its state dict: versions of its layers."""


class StandIn(NamedTuple):
    """What a pickle may call; it takes no state, so that a file cannot change it."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function."""
        return self.function(*arguments)


def _tensor(storage: object, offset: int, shape: Any, strides: Any, *_: object) -> Any:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor has no storage")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


STAND_INS: Mapping[str, StandIn] = {
    "collections.OrderedDict": StandIn(StateDict),
    "torch._utils._rebuild_tensor_v2": StandIn(_tensor),
    "torch._utils._rebuild_parameter": StandIn(lambda tensor, *_: tensor),
    "torch.Size": StandIn(tuple),
}


class TensorUnpickler(pickle.Unpickler):
    """Builds dicts, lists, plain values and `Tensor`s.

    storages: that it came upon, by key.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name; raises UnpicklingError for one that is not known."""
        if module == "torch" and name in DTYPES:
            return Kind(name)
        known = STAND_INS.get(f"{module}.{name}")
        if known is None:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")
        return known

    def persistent_load(self, pid: Any) -> Storage:
        """The storage of ('storage', type, key, device, size, ...)."""
        what, kind, key, _, size, *view = pid
        if what != "storage" or not isinstance(kind, Kind) or any(view):
            raise pickle.UnpicklingError("it refers to something that is no storage")
        if type(size) is not int or size < 0:
            raise pickle.UnpicklingError("a storage has a size that is no size")
        storage = Storage(str(key), DTYPES[kind.name], size)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise pickle.UnpicklingError("two storages have one name")
        return storage


def read_tensors(stream: BinaryIO) -> dict[str, np.ndarray]:
    """The tensors of a state dict, or of one under a name of `WRAPPERS`, by name.

    stream: a file from its beginning; it must be able to seek.

    Raises:
      UnpicklingError: it holds something else. Others of `DAMAGE`: it is damaged.
    """
    archived = stream.read(len(ARCHIVE)) == ARCHIVE
    stream.seek(0)
    content, numbers = (_read_archive if archived else _read_pickles)(stream)
    for name in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict):
        raise pickle.UnpicklingError(
            f"it holds a {type(content).__name__}; needed is a state dict"
        )
    for name, tensor in content.items():
        if not isinstance(tensor, Tensor):
            raise pickle.UnpicklingError(
                f"{name} is a {type(tensor).__name__}; needed are tensors"
            )
    return {str(name): tensor.values(numbers) for name, tensor in content.items()}


def _read_archive(stream: BinaryIO) -> tuple[Any, Numbers]:
    with zipfile.ZipFile(stream) as archive:
        names = archive.namelist()
        pickled = next((n for n in names if n.endswith("/data.pkl")), None)
        if pickled is None:
            raise pickle.UnpicklingError("the archive has no data.pkl")
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in names:
            _check_order(_read_stored(archive, f"{folder}byteorder") == b"little")
        unpickler = TensorUnpickler(io.BytesIO(_read_stored(archive, pickled)))
        content = unpickler.load()
        return content, {
            key: storage.numbers(_read_stored(archive, f"{folder}data/{key}"))
            for key, storage in unpickler.storages.items()
        }


def _read_stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member of an archive as torch.save writes it: as it is, at its full size.

    What is compressed could be a thousand times as large as the file.
    """
    member = archive.getinfo(name)
    encrypted = member.flag_bits & 1
    if member.compress_type != zipfile.ZIP_STORED or encrypted:
        raise pickle.UnpicklingError(
            f"{name} is compressed or encrypted, as torch.save writes none"
        )
    return archive.read(member)


def _read_pickles(stream: BinaryIO) -> tuple[Any, Numbers]:
    """Pickles of magic number, version, machine, content and keys, then the numbers."""
    if TensorUnpickler(stream).load() != MAGIC:
        raise pickle.UnpicklingError("torch.save did not write it")
    TensorUnpickler(stream).load()
    _check_order(TensorUnpickler(stream).load()["little_endian"])
    unpickler = TensorUnpickler(stream)
    content = unpickler.load()
    numbers = {}
    for key in TensorUnpickler(stream).load():
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", stream.read(8))
        row = stream.read(count * storage.dtype.itemsize) if count >= 0 else b""
        numbers[key] = storage.numbers(row)
    return content, numbers


def _check_order(little: bool) -> None:
    if not little:
        raise pickle.UnpicklingError("its numbers are big-endian")
