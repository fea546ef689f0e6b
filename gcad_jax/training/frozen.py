"""The frozen part of a category, computed once and kept beside its checkpoints."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gcad_jax.checks import UserError
from gcad_jax.models.weight_files import checksum, read_weights, write_weights
from gcad_jax.types import ImagesU8, Tree

FILE = "frozen.npz"


def kept(
    folder: pathlib.Path,
    prepare: Callable[[ImagesU8], Tree],
    images: ImagesU8,
    config: Mapping[str, Any],
    say: Callable[[str], None],
) -> Tree:
    """`prepare(images)`, or what an earlier call with this config and images kept.

    A resumed run so continues with the very same numbers, even where a weight file
    was replaced in between. Without a checkpoint nothing depends on them yet, and they
    are computed anew, as are those of a damaged file.
    """
    own = {"method": config.get("method"), "images": checksum({"images": images})}
    made_of = json.loads(json.dumps(own))
    path = folder / FILE
    if path.exists() and any(folder.glob("checkpoints/[0-9]*")):
        try:
            header, arrays = read_weights(path)
        except UserError as error:
            say(f"frozen      computed anew: {error}")
        else:
            if header.get("made_of") == made_of:
                if header.get("sha256") == checksum(arrays):
                    leaves = {name: jnp.asarray(a) for name, a in arrays.items()}
                    return unflatten_dict(leaves, sep="/")
                say(f"frozen      computed anew: {path} is damaged")
    frozen = prepare(images)
    arrays = {
        name: np.asarray(array)
        for name, array in flatten_dict(jax.device_get(frozen), sep="/").items()
    }
    write_weights(path, {"made_of": made_of}, arrays)
    return frozen
