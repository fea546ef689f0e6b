"""The frozen part of a category, computed once and kept beside its checkpoints."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from gcad_jax.core import multihost
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import ImagesU8, Tree
from gcad_jax.models.io.npz import checksum, read_weights, write_weights
from gcad_jax.training.checkpoint import CHECKPOINTS, finished_steps
from gcad_jax.training.options import RunContext

FROZEN = "frozen.npz"


def load_or_prepare(
    prepare: Callable[[ImagesU8], Tree], images: ImagesU8, context: RunContext
) -> Tree:
    """`prepare(images)`, or what an earlier call with this config and images stored.

    A resumed run so continues with the very same numbers, even where a weight file
    was replaced in between. Without a checkpoint nothing depends on them yet, and they
    are computed anew, as are those of a damaged file.

    Raises:
      UserError: on a process that cannot read what the first one wrote.
    """
    path, print_line = context.folder / FROZEN, context.print_line
    method = context.config.get("method")
    inputs = {"method": method, "images": checksum({"images": images})}
    made_of = json.loads(json.dumps(inputs))  # tuples become lists, as in the file

    def load_or_write() -> Tree:
        resumed = path.exists() and finished_steps(context.folder / CHECKPOINTS)
        if resumed and (stored := _read_frozen(path, made_of, print_line)) is not None:
            return stored
        frozen = prepare(images)
        leaves = flatten_dict(jax.device_get(frozen), sep="/")
        arrays = {name: np.asarray(leaf) for name, leaf in leaves.items()}
        write_weights(path, {"made_of": made_of}, arrays)
        return frozen

    def load() -> Tree:
        if (stored := _read_frozen(path, made_of, print_line)) is None:
            raise UserError(
                f"{path} is not what the first process has written there; give all "
                "hosts a workdir that they share."
            )
        return stored

    if multihost.num_processes() == 1:
        return load_or_write()
    # The first process prepares, the others read what it wrote: on another machine
    # the same program may round otherwise.
    multihost.run_on_first(lambda: bool(load_or_write()))
    return multihost.run_on_all(load)


def _read_frozen(
    path: epath.Path, made_of: Mapping[str, Any], print_line: Callable[[str], None]
) -> Tree | None:
    """What the file holds; None where it was made of something else, or is damaged."""
    try:
        header, arrays = read_weights(path)
    except UserError as error:
        print_line(f"frozen      computed anew: {error}")
        return None
    if header.get("made_of") != made_of:
        return None
    if header.get("sha256") != checksum(arrays):
        print_line(f"frozen      computed anew: {path} is damaged")
        return None
    leaves = {name: jnp.asarray(array) for name, array in arrays.items()}
    return unflatten_dict(leaves, sep="/")
