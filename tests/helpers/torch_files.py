"""Files as torch.save writes them, in both formats, without PyTorch."""

import collections
import contextlib
import io
import pickle
import sys
import types
import zipfile
from unittest import mock

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
}


class Stored:
    """Numbers that tensors look at; pickled by reference. size: how many it says."""

    def __init__(self, key, numbers, size=None):
        self.key, self.numbers = key, numbers
        self.size = numbers.size if size is None else size


class Tensor:
    """A tensor over stored numbers, its shape and strides as the file shall say."""

    def __init__(self, stored, offset, shape, strides):
        self.arguments = (stored, offset, shape, strides)

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (*self.arguments, False, collections.OrderedDict())


class Pickler(pickle.Pickler):
    """Refers to numbers by key, and remembers them."""

    def __init__(self, stream):
        super().__init__(stream, protocol=2)
        self.numbers = {}

    def persistent_id(self, thing):
        if not isinstance(thing, Stored):
            return None
        self.numbers[thing.key] = thing.numbers
        kind = getattr(sys.modules["torch"], STORAGES[thing.numbers.dtype.name])
        # The older format says a sixth thing, of views.
        return ("storage", kind, thing.key, "cpu", thing.size)


class OlderPickler(Pickler):
    def persistent_id(self, thing):
        found = super().persistent_id(thing)
        return found and (*found, None)


@contextlib.contextmanager
def names_of_torch():
    """Modules whose names pickle writes; nothing in them is ever called."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_):
        raise AssertionError("a file was read with this stand-in")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        yield


def tensors(arrays):
    """An OrderedDict of tensors, each with numbers of its own."""
    found = collections.OrderedDict()
    for i, (name, array) in enumerate(arrays.items()):
        strides = tuple(step // array.itemsize for step in array.strides)
        stored = Stored(str(i), np.frombuffer(array.tobytes("A"), array.dtype))
        found[name] = Tensor(stored, 0, array.shape, strides)
    return found


def saved(content, archive=True, little=True, compression=zipfile.ZIP_STORED):
    """The bytes of a file with this content."""
    stream = io.BytesIO()
    with names_of_torch():
        if not archive:
            machine = {"protocol_version": 1001, "little_endian": little}
            for part in (MAGIC, 1001, machine):
                pickle.dump(part, stream, protocol=2)
            pickler = OlderPickler(stream)
            pickler.dump(content)
            pickle.dump(sorted(pickler.numbers), stream, protocol=2)
            for _, numbers in sorted(pickler.numbers.items()):
                stream.write(numbers.size.to_bytes(8, "little") + numbers.tobytes())
            return stream.getvalue()
        pickled = io.BytesIO()
        pickler = Pickler(pickled)
        pickler.dump(content)
    with zipfile.ZipFile(stream, "w", compression) as file:
        file.writestr("model/data.pkl", pickled.getvalue())
        file.writestr("model/byteorder", "little" if little else "big")
        for key, numbers in pickler.numbers.items():
            file.writestr(f"model/data/{key}", numbers.tobytes())
    return stream.getvalue()
