"""Weights of other frameworks as parameters of the networks here.

One rule a layer: which arrays of the foreign file it is made of. The shapes that they
must have follow from the networks themselves, and every array of the file must be one
that a rule names: nothing is skipped, guessed or reshaped.
"""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import numpy as np
from flax.traverse_util import unflatten_dict

from gcad_jax.checks import UserError, one_of
from gcad_jax.models import mobilenet, weight_files
from gcad_jax.models.classifiers import ARCHITECTURES, classifier
from gcad_jax.models.weight_files import Arrays, Shapes, listed
from gcad_jax.types import Tree

EPSILON = 1e-5  # of torchvision's batch normalisation
COUNTER = "num_batches_tracked"  # of a batch normalisation; inference needs it not
STATISTICS = ("weight", "bias", "running_mean", "running_var")

# Axes of the foreign kernel that become ours: (rows, columns, in, out), or (in, out).
OIHW = (2, 3, 1, 0)
OI = (1, 0)
OHWI = (1, 2, 3, 0)
IHWO = (1, 2, 0, 3)  # depthwise, in is 1


class Rule(NamedTuple):
    """How a layer is made."""

    layer: str  # name in the parameters here
    kernel: str  # key in the foreign file
    axes: tuple[int, ...]
    bias: str = ""  # key; '' where `norm` follows
    norm: str = ""  # prefix of the keys of a batch normalisation that is folded in
    squeezed: bool = False  # a 1x1 convolution that is a dense layer here


def convert(arch: str, tensors: Arrays, origin: str) -> Tree:
    """Parameters, float32 NumPy arrays, of the network called `arch`.

    Args:
      arch: one of NETWORKS.
      tensors: key -> array of the foreign file, of any floating type.
      origin: its path, for errors.

    Raises:
      UserError: unknown, missing or misshapen keys; values that are not finite.
    """
    module = network(arch)
    rules = rules_of(arch, tensors)
    shapes = weight_files.parameter_shapes(module)
    used = _checked(tensors, _needed(rules, shapes), f"{origin} is no {arch}")
    flat: dict[str, np.ndarray] = {}
    for rule in rules:
        flat[f"{rule.layer}/kernel"], flat[f"{rule.layer}/bias"] = _layer(rule, used)
    for name, array in flat.items():
        flat[name] = array.reshape(shapes[name]).astype(np.float32)
        if not np.isfinite(flat[name]).all():
            raise UserError(
                f"{origin}: {name} is not finite after its batch normalisation is "
                "folded in; the file is damaged or its variances are negative."
            )
    return unflatten_dict(flat, sep="/")
