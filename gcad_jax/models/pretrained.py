"""Weight files of E_loc: one .npz with its arrays and a JSON header.

A file holds the parameters of a `PatchDescriptor` before the normalisation of a
category is folded in. The header says which descriptor it belongs to and carries a
checksum, so that a wrong or damaged file is an error and never a bad teacher.
"""

import hashlib
import json
import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gcad_jax.checks import UserError
from gcad_jax.files import Path, written
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.types import Tree

FORMAT = "gcad_jax E_loc"
VERSION = 1
HEADER = "header"
STORED_TYPES = ("float32", "float16")
Arrays = Mapping[str, np.ndarray]  # "conv1/kernel" -> array


def save_descriptor(
    path: Path, params: Tree, descriptor: PatchDescriptor, stored_as: str = "float32"
) -> None:
    """Writes the 'params' of `descriptor`, atomically.

    Args:
      path: of the .npz file; its folder must exist.
      params: as `descriptor.init` returns under 'params'.
      descriptor: what the parameters belong to.
      stored_as: 'float32' or 'float16', which halves the file.

    Raises:
      ValueError: if the parameters do not fit the descriptor, or are not finite in
        the stored type.
      UserError: if the file cannot be written.
    """
    if stored_as not in STORED_TYPES:
        raise ValueError(f"stored_as is {stored_as!r}; allowed are {STORED_TYPES}.")
    flat = flatten_dict(jax.device_get(params), sep="/")
    with np.errstate(over="ignore"):  # found by the next check, with a name
        arrays = {name: np.asarray(a).astype(stored_as) for name, a in flat.items()}
    problem = _difference(arrays, descriptor)
    if problem:
        raise ValueError(f"The parameters do not fit the descriptor: {problem}.")
    header = _header(descriptor) | {"sha256": _checksum(arrays)}
    _write(pathlib.Path(path), {HEADER: np.array(json.dumps(header)), **arrays})


def load_descriptor(path: Path, expected: PatchDescriptor) -> Tree:
    """The 'params' of `expected` from a file, float32.

    Raises:
      UserError: if the file is missing, damaged, no weight file, or belongs to
        another descriptor; the sentence says what differs.
    """
    header, arrays = _read(pathlib.Path(path))
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise UserError(
            f"{path} has format {header.get('format')!r}, version "
            f"{header.get('version')!r}; this program reads {FORMAT!r}, version "
            f"{VERSION}: use a file that save_descriptor of this version wrote."
        )
    for field, value in _header(expected).items():
        if header.get(field) != value:
            raise UserError(
                f"{path} holds an E_loc with {field} = {header.get(field)!r}, but the "
                f"configuration asks for {value!r}: change one of them."
            )
    # The names before the checksum: they say more about what happened.
    problem = _difference(arrays, expected)
    if problem:
        raise UserError(f"{path} does not fit E_loc (p = {expected.p}): {problem}.")
    if header.get("sha256") != _checksum(arrays):
        raise UserError(
            f"{path} is damaged: its arrays do not have the checksum in its header; "
            "copy the file again."
        )
    return unflatten_dict(
        {name: jnp.asarray(a, jnp.float32) for name, a in arrays.items()}, sep="/"
    )


def _header(descriptor: PatchDescriptor) -> dict[str, Any]:
    """What a file must share with the descriptor that it is loaded into."""
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "p": descriptor.p,
        "d_loc": descriptor.d_loc,
        "width": descriptor.width,
        "slope": descriptor.slope,
    }
    # Only p = 65 has the layer.
    return header | ({"p65_conv3": descriptor.p65_conv3} if descriptor.p == 65 else {})


def _difference(arrays: Arrays, descriptor: PatchDescriptor) -> str:
    """How the arrays differ from what the descriptor needs; '' if they do not."""
    shapes = jax.eval_shape(
        descriptor.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3), jnp.float32)
    )
    needed = {n: a.shape for n, a in flatten_dict(shapes["params"], sep="/").items()}
    missing, unknown = sorted(needed.keys() - arrays), sorted(arrays - needed.keys())
    if missing:
        return f"it lacks {', '.join(missing)}"
    if unknown:
        return f"it has the unknown {', '.join(unknown)}"
    for name, array in arrays.items():
        if array.shape != needed[name]:
            return f"{name} has shape {array.shape}, needed is {needed[name]}"
        if array.dtype.name not in STORED_TYPES:
            return f"{name} has type {array.dtype.name}, allowed are {STORED_TYPES}"
        if not np.isfinite(array).all():
            return f"{name} has values that are not finite"
    return ""


def _checksum(arrays: Arrays) -> str:
    """SHA-256 over name, type, shape and bytes of every array, by name."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _write(path: pathlib.Path, entries: Arrays) -> None:
    # An open file, because NumPy appends .npz to a name.
    with written(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **entries)


def _read(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file; UserError if it is not whole."""
    if not path.is_file():
        raise UserError(
            f"{path} is not there or is no file; give the path of an E_loc weight file "
            "(.npz)."
        )
    try:
        # Opened here, because np.load leaves a damaged archive open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            entries = {name: file[name] for name in file.files}
        header = json.loads(str(entries.pop(HEADER)))
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}).") from error
    except (ValueError, KeyError, EOFError, AttributeError, TypeError) as error:
        raise _damaged(path, error) from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise _damaged(path, error) from error
    return header, entries


def _damaged(path: pathlib.Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is damaged or no E_loc weight file ({error}); copy the file again."
    )
