"""Weight files: one .npz of arrays with a JSON header that carries a checksum.

The header says what the arrays belong to, so that a wrong or damaged file is an error
and never a bad network. What a header must say is up to the caller.
"""

import hashlib
import json
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gcad_jax.checks import UserError
from gcad_jax.files import Path, written
from gcad_jax.types import Tree

HEADER = "header"
STORED_TYPES = ("float32", "float16")
SHOWN = 4  # names in a sentence, before "and N more"
Arrays = Mapping[str, np.ndarray]  # "conv1/kernel" -> array
Shapes = Mapping[str, tuple[int, ...]]


def parameter_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the 'params' of a network of RGB images; computes nothing."""
    image = jnp.zeros((1, 8, 8, 3), jnp.float32)
    tree = jax.eval_shape(module.init, jax.random.key(0), image)["params"]
    return {name: a.shape for name, a in flatten_dict(tree, sep="/").items()}


def write(
    path: Path,
    header: Mapping[str, Any],
    params: Tree,
    needed: Shapes,
    stored_as: str,
) -> None:
    """Writes parameters, whole or not at all; a checksum is added to the header.

    Args:
      path: of the .npz file; its folder is made where it is missing.
      header: JSON; 'format' and 'version' are what `read` compares.
      params: nested dicts of arrays.
      needed: the names and shapes that they must have.
      stored_as: 'float32' or 'float16', which halves the file.

    Raises:
      ValueError: if the parameters do not fit, or are not finite in the stored type.
      UserError: if the file cannot be written.
    """
    if stored_as not in STORED_TYPES:
        raise ValueError(f"stored_as is {stored_as!r}; allowed are {STORED_TYPES}.")
    flat = flatten_dict(jax.device_get(params), sep="/")
    with np.errstate(over="ignore"):  # found by the next check, with a name
        arrays = {name: np.asarray(a).astype(stored_as) for name, a in flat.items()}
    if problem := difference(arrays, needed):
        raise ValueError(f"The parameters do not fit the network: {problem}.")
    text = json.dumps({**header, "sha256": _checksum(arrays)})
    # An open file, because NumPy appends .npz to a name.
    with written(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **{HEADER: np.array(text)}, **arrays)


def read(
    path: Path, file_format: str, version: int, kind: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file, as stored; `parameters` checks the arrays.

    Args:
      path: of the file.
      file_format: that the header must name.
      version: likewise.
      kind: what the file is called in an error: 'E_loc', 'classifier'.

    Raises:
      UserError: if the file is missing, damaged, or of another kind or version.
    """
    header, arrays = _entries(pathlib.Path(path), kind)
    if header.get("format") != file_format or header.get("version") != version:
        raise UserError(
            f"{path} has format {header.get('format')!r}, version "
            f"{header.get('version')!r}; this program reads {file_format!r}, version "
            f"{version}: give {kind} weights that this version wrote."
        )
    return header, arrays


def parameters(
    path: Path, header: Mapping[str, Any], arrays: Arrays, needed: Shapes, net: str
) -> Tree:
    """The arrays of a file as float32 parameters of the network called `net`.

    Raises:
      UserError: if they do not fit, or do not have the checksum in the header.
    """
    # The names before the checksum: they say more about what happened.
    if problem := difference(arrays, needed):
        raise UserError(f"{path} does not fit {net}: {problem}.")
    if header.get("sha256") != _checksum(arrays):
        raise UserError(
            f"{path} is damaged: its arrays do not have the checksum in its header; "
            "copy the file again."
        )
    flat = {name: jnp.asarray(a, jnp.float32) for name, a in arrays.items()}
    return unflatten_dict(flat, sep="/")


def difference(arrays: Arrays, needed: Shapes) -> str:
    """How the arrays differ from what is needed; '' if they do not."""
    missing, unknown = sorted(needed.keys() - arrays), sorted(arrays - needed.keys())
    if missing:
        return f"it lacks {listed(missing)}"
    if unknown:
        return f"it has the unknown {listed(unknown)}"
    for name, array in arrays.items():
        if array.shape != needed[name]:
            return f"{name} has shape {array.shape}, needed is {needed[name]}"
        if array.dtype.name not in STORED_TYPES:
            return f"{name} has type {array.dtype.name}, allowed are {STORED_TYPES}"
        if not np.isfinite(array).all():
            return f"{name} has values that are not finite"
    return ""


def listed(names: Sequence[str]) -> str:
    """'a, b, c, d and 8 more'."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _checksum(arrays: Arrays) -> str:
    """SHA-256 over name, type, shape and bytes of every array, by name."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _entries(
    path: pathlib.Path, kind: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file; UserError if it is not whole."""
    if not path.is_file():
        raise UserError(
            f"{path} is not there or is no file; give the path of a file with "
            f"{kind} weights (.npz)."
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
        raise _damaged(path, kind, error) from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise _damaged(path, kind, error) from error
    return header, entries


def _damaged(path: pathlib.Path, kind: str, error: Exception) -> UserError:
    article = "an" if kind[0] in "AEIOaeio" else "a"
    return UserError(
        f"{path} is damaged or no {kind} weight file ({error}); copy the file again, "
        f"or give {article} {kind} file."
    )
