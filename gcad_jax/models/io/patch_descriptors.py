"""Weight files of E_loc: one .npz with its arrays and a JSON header.

A file holds the parameters of a `PatchDescriptor` before the normalization of a
category is folded in. The header says which descriptor it belongs to and carries a
checksum, so that a wrong or damaged file is an error and never a bad teacher.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path
from gcad_jax.core.types import Tree
from gcad_jax.models.io.npz import (
    STORED_TYPES,
    check_sum,
    difference,
    parameter_shapes,
    read_weights,
    write_weights,
)
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.models.patch_layers import ARCHS, STUDENT_TEACHER

FORMAT = "gcad_jax E_loc"
VERSION = 1
SHIPPED_WEIGHTS = pathlib.Path(__file__).parents[1] / "weights"


def save_descriptor(
    path: Path,
    params: Tree,
    descriptor: PatchDescriptor,
    stored_as: str = "float32",
    source: Mapping[str, Any] | None = None,
) -> None:
    """Writes the 'params' of `descriptor`, atomically.

    Args:
      path: of the .npz file; its folder must exist.
      params: as `descriptor.init` returns under 'params'.
      descriptor: what the parameters belong to.
      stored_as: 'float32' or 'float16', which halves the file.
      source: what they were learned or converted from, kept in the header.

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
    if problem := difference(arrays, parameter_shapes(descriptor)):
        raise ValueError(f"The parameters do not fit the descriptor: {problem}.")
    origin = {} if source is None else {"source": source}
    write_weights(path, _header(descriptor) | origin, arrays)


def load_descriptor(path: Path, expected: PatchDescriptor) -> Tree:
    """The 'params' of `expected` from a file, float32.

    Raises:
      UserError: if the file is missing, damaged, no weight file, or belongs to
        another descriptor; the sentence says what differs.
    """
    header, arrays = read_weights(path)
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise UserError(
            f"{path} has format {header.get('format')!r}, version "
            f"{header.get('version')!r}; this program reads {FORMAT!r}, version "
            f"{VERSION}: give weights of E_loc, as configs/pretrain_teacher.py or a "
            "conversion of a PDN leaves them."
        )
    # The first files knew of no other architecture.
    header = {"arch": STUDENT_TEACHER} | header
    for field, value in _header(expected).items():
        if header.get(field) != value:
            raise UserError(
                f"{path} holds an E_loc with {field} = {header.get(field)!r}, but the "
                f"configuration asks for {value!r}: change one of them"
                + (" (width is E_loc_width of a method)." if field == "width" else ".")
            )
    # The names before the checksum: they say more about what happened.
    if problem := difference(arrays, parameter_shapes(expected)):
        raise UserError(f"{path} does not fit E_loc (p = {expected.p}): {problem}.")
    check_sum(path, header, arrays)
    return unflatten_dict(
        {name: jnp.asarray(a, jnp.float32) for name, a in arrays.items()}, sep="/"
    )


def _header(descriptor: PatchDescriptor) -> dict[str, Any]:
    """What a file must share with the descriptor that it is loaded into."""
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "arch": descriptor.arch,
        "p": descriptor.p,
        "d_loc": descriptor.d_loc,
    }
    if ARCHS[descriptor.arch].published:
        return header
    header |= {"width": descriptor.width, "slope": descriptor.slope}
    # Only p = 65 has the layer.
    return header | ({"p65_conv3": descriptor.p65_conv3} if descriptor.p == 65 else {})


# -- weights that come with the package ---------------------------------------


def shipped_path(descriptor: PatchDescriptor) -> pathlib.Path:
    """The file for this p and d_loc of Student-Teacher.

    Raises:
      UserError: none comes with the package, or of another width or slope.
    """
    arch, p, d_loc = descriptor.arch, descriptor.p, descriptor.d_loc
    if ARCHS[arch].published:
        raise UserError(
            f"No weights of E_loc {arch!r} come with the package: convert published "
            f"ones (python -m gcad_jax.convert with arch={arch}) to E_loc_{p}.npz and "
            "set method.teacher to that file, or set it to 'random'."
        )
    path = SHIPPED_WEIGHTS / f"E_loc_{p}_{d_loc}.npz"
    if not path.is_file():
        sizes = sorted(
            tuple(map(int, f.stem.split("_")[2:]))
            for f in SHIPPED_WEIGHTS.glob("E_loc_*.npz")
        )
        raise UserError(
            f"No weights of E_loc come with the package for p = {p} and "
            f"d_loc = {d_loc}; they do for (p, d_loc) of {sizes}: take one "
            "of these, or set method.teacher to 'random' or to the path of weights of "
            "your own (configs/pretrain_teacher.py)."
        )
    header, _ = read_weights(path)
    for name, field in (("width", "E_loc_width"), ("slope", "slope")):
        if header.get(name) != getattr(descriptor, name):
            raise UserError(
                f"method.{field} is {getattr(descriptor, name)}, but the weights of "
                f"E_loc that come with the package for p = {p} and d_loc = {d_loc} "
                f"have {header.get(name)}: set it to that, or set "
                "method.teacher to 'random' or to the path of weights of your own."
            )
    return path
