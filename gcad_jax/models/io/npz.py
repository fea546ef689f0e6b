"""Weight files: one .npz with arrays and a JSON header that says what they are.

The header carries a checksum, so that a damaged file is an error and never a network
that does something else.
"""

import hashlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from gcad_jax.core.atomic_files import atomic_file
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path, as_path, open_file

HEADER = "header"
STORED_TYPES = ("float32", "float16")
# Of the file's size: what this program writes is not compressed, and weights of others
# hardly can be; zeros can, to a thousandth.
MOST_UNPACKED = 100
# What NumPy and zipfile raise at a damaged file.
DAMAGE: tuple[type[Exception], ...] = (
    *(ValueError, KeyError, EOFError, AttributeError, TypeError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)
Arrays = Mapping[str, np.ndarray]  # "conv1/kernel" -> array


def write_weights(path: Path, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Writes arrays and header, with their checksum, atomically; raises UserError."""
    header = {**header, "sha256": checksum(arrays)}
    # An open file, because NumPy appends .npz to a name.
    with atomic_file(path) as part, part.open("wb") as file:
        np.savez(
            file, allow_pickle=False, **{HEADER: np.array(json.dumps(header)), **arrays}
        )


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file, unchecked: see `check_sum`.

    Raises:
      UserError: it is missing, damaged or no such file.
    """
    entries = read_arrays(path)
    if HEADER not in entries:
        raise damaged(path, "it has no header")
    try:
        header = json.loads(str(entries.pop(HEADER)))
    except ValueError as error:
        raise damaged(path, f"its header: {error}") from error
    if not isinstance(header, dict):
        raise damaged(path, "its header is no JSON object")
    return header, entries


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of any .npz file by name.

    Raises:
      UserError: it is missing, damaged or no .npz file.
    """
    if not as_path(path).is_file():
        raise UserError(
            f"{path} is not there or is no file; give the path of a weight file (.npz)."
        )
    try:
        # Opened here, because np.load leaves a damaged archive open.
        with open_file(path) as stream:
            if not zipfile.is_zipfile(stream):
                raise damaged(path, "it is no .npz archive, or a part of one")
            _check_sizes(path, stream)
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                return {name: np.asarray(file[name]) for name in file.files}
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}).") from error
    except DAMAGE as error:
        raise damaged(path, error) from error


def _check_sizes(path: Path, stream: BinaryIO) -> None:
    """Raises UserError where an archive would unpack to what no weight file holds.

    Before anything is unpacked: by the directory of the archive, and by the headers of
    the arrays, for which NumPy would allocate what they say.
    """
    size = stream.seek(0, os.SEEK_END)
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > MOST_UNPACKED * size:
            raise damaged(
                path,
                f"it would unpack from {size:,} to {unpacked:,} bytes, and a weight "
                f"file does to at most {MOST_UNPACKED} times its size",
            )
        for entry in entries:
            with archive.open(entry) as array:
                version = np.lib.format.read_magic(array)
                read_header = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read_header(array)
            if math.prod(shape) * dtype.itemsize > entry.file_size:
                raise damaged(
                    path,
                    f"{entry.filename} says that its shape is {shape}, and has "
                    f"{entry.file_size:,} bytes",
                )


def check_sum(path: Path, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Raises UserError unless the arrays have the checksum of the header."""
    if header.get("sha256") != checksum(arrays):
        raise UserError(
            f"{path} is damaged: its arrays do not have the checksum in its header; "
            "copy the file again."
        )


def difference(arrays: Arrays, needed: Mapping[str, tuple[int, ...]]) -> str:
    """How names, shapes, types or values differ from what is needed; '' if nothing."""
    missing, unknown = sorted(needed.keys() - arrays), sorted(arrays - needed.keys())
    if missing:
        return f"it lacks {_named(missing)}"
    if unknown:
        return f"it has the unknown {_named(unknown)}"
    for name, array in arrays.items():
        if array.shape != needed[name]:
            return f"{name} has shape {array.shape}, needed is {needed[name]}"
        if array.dtype.name not in STORED_TYPES:
            return f"{name} has type {array.dtype.name}, allowed are {STORED_TYPES}"
        if not np.isfinite(array).all():
            return f"{name} has values that are not finite"
    return ""


def parameter_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter of a network of (B, H, W, 3) images."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    params = jax.eval_shape(network.init, jax.random.key(0), images)["params"]
    return {n: a.shape for n, a in flatten_dict(params, sep="/").items()}


def checksum(arrays: Arrays) -> str:
    """SHA-256 over name, type, shape and bytes of every array, by name."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _named(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def damaged(path: Path, reason: object) -> UserError:
    """What to say of a file that is not what it should be."""
    return UserError(
        f"{path} is damaged or no weight file of this program ({reason}); copy the "
        "file again, or, if others published it, convert it first with "
        "python -m gcad_jax.convert."
    )
