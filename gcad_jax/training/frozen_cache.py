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

FILE = "frozen.npz"


def kept(
    folder: epath.Path,
    prepare: Callable[[ImagesU8], Tree],
    images: ImagesU8,
    config: Mapping[str, Any],
    say: Callable[[str], None],
) -> Tree:
    """`prepare(images)`, or what an earlier call with this config and images kept.

    The first process prepares and writes, the others read what it wrote: on another
    machine the same program may round otherwise.

    A resumed run so continues with the very same numbers, even where a weight file
    was replaced in between. Without a checkpoint nothing depends on them yet, and they
    are computed anew, as are those of a damaged file.
    """
    path = folder / FILE
    own = {"method": config.get("method"), "images": checksum({"images": images})}
    made_of = json.loads(json.dumps(own))

    def made() -> Tree:
        begun = path.exists() and finished_steps(folder / CHECKPOINTS)
        if begun and (there := _read(path, made_of, say)) is not None:
            return there
        frozen = prepare(images)
        arrays = {
            name: np.asarray(array)
            for name, array in flatten_dict(jax.device_get(frozen), sep="/").items()
        }
        write_weights(path, {"made_of": made_of}, arrays)
        return frozen

    def written() -> Tree:
        if (there := _read(path, made_of, say)) is None:
            raise UserError(
                f"{path} is not what the first process has written there; give all "
                "hosts a workdir that they share."
            )
        return there

    if multihost.num_processes() == 1:
        return made()
    multihost.run_on_first(lambda: bool(made()))
    return multihost.run_on_all(written)


def _read(
    path: epath.Path, made_of: Mapping[str, Any], say: Callable[[str], None]
) -> Tree | None:
    """What the file holds; None where it was made of something else, or is damaged."""
    try:
        header, arrays = read_weights(path)
    except UserError as error:
        say(f"frozen      computed anew: {error}")
        return None
    if header.get("made_of") != made_of:
        return None
    if header.get("sha256") != checksum(arrays):
        say(f"frozen      computed anew: {path} is damaged")
        return None
    leaves = {name: jnp.asarray(array) for name, array in arrays.items()}
    return unflatten_dict(leaves, sep="/")
