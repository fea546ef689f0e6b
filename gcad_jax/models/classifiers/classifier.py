"""Pretrained classification networks, frozen, behind one interface.

Their weight files are written by `python -m gcad_jax.convert`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path
from gcad_jax.core.types import Array, Images, Tree
from gcad_jax.models.classifiers.efficientnet import (
    EFFICIENTNET_LITE0,
    EFFICIENTNET_LITE0_TORCH,
    lite_normalized,
)
from gcad_jax.models.classifiers.mobilenet import MOBILENET_V2, MOBILENET_V2_TORCH
from gcad_jax.models.classifiers.resnet import RESNET18, WIDE_RESNET50_2
from gcad_jax.models.io.npz import (
    check_sum,
    difference,
    parameter_shapes,
    read_weights,
    write_weights,
)
from gcad_jax.models.layers.init import imagenet_normalized

FORMAT = "gcad_jax classifier"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network and what it takes.

    module: (B, H, W, 3) normalized -> maps by name, among them 'pooled' (B, F).
    normalize: images in [0, 1] -> what the module takes.
    """

    arch: str
    module: nn.Module
    normalize: Callable[[Images], Array]

    def maps(
        self, params: Tree, images: Images, until: str | None = None
    ) -> Mapping[str, Array]:
        """Features of (B, H, W, 3) in [0, 1], by name.

        until: the last map that is wanted; None for all. What is behind it is not
          computed and needs no parameters.
        """
        options: dict[str, Any] = {} if until is None else {"until": until}
        x = self.normalize(images)
        features = self.module.apply({"params": params}, x, **options)
        return features  # type: ignore[return-value]

    def needed(self, params: Tree, until: str) -> Tree:
        """The parameters that `maps` reads up to this map: what a detector keeps."""
        images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        init = functools.partial(self.module.init, until=until)
        layers = jax.eval_shape(init, jax.random.key(0), images)["params"]
        return {layer: params[layer] for layer in layers}

    def widths(self) -> dict[str, int]:
        """Name -> number of features."""
        images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        shapes = jax.eval_shape(self.module.init_with_output, jax.random.key(0), images)
        return {name: array.shape[-1] for name, array in shapes[0].items()}


CLASSIFIERS: Mapping[str, Classifier] = {
    network.arch: network
    for network in (
        Classifier("efficientnet_lite0", EFFICIENTNET_LITE0, lite_normalized),
        Classifier(
            "efficientnet_lite0_torch", EFFICIENTNET_LITE0_TORCH, imagenet_normalized
        ),
        Classifier("mobilenet_v2", MOBILENET_V2, lambda images: 2.0 * images - 1.0),
        Classifier("mobilenet_v2_torch", MOBILENET_V2_TORCH, imagenet_normalized),
        Classifier("resnet18", RESNET18, imagenet_normalized),
        Classifier("wide_resnet50_2", WIDE_RESNET50_2, imagenet_normalized),
    )
}


def classifier(arch: str) -> Classifier:
    """The network of this name; raises UserError for another one."""
    one_of("arch", arch, CLASSIFIERS)
    return CLASSIFIERS[arch]


def save_classifier(
    path: Path, arch: str, arrays: Mapping[str, np.ndarray], source: Mapping[str, Any]
) -> None:
    """Writes the parameters {'first/kernel': array} of a network, atomically.

    source: what they were converted from, kept in the header.

    Raises:
      UserError: names or shapes that do not fit, or a file that cannot be written.
    """
    if problem := difference(arrays, parameter_shapes(classifier(arch).module)):
        raise UserError(f"the weights do not fit {arch}: {problem}.")
    header = {"format": FORMAT, "version": VERSION, "arch": arch, "source": source}
    write_weights(path, header, arrays)


def load_classifier(path: Path) -> tuple[Classifier, Tree]:
    """The network of a weight file and its parameters, float32.

    Raises:
      UserError: the file is missing, damaged, or no weight file of a classifier.
    """
    header, arrays = read_weights(path)
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise UserError(
            f"{path} has format {header.get('format')!r}, version "
            f"{header.get('version')!r}; needed is {FORMAT!r}, version {VERSION}: "
            "write it with python -m gcad_jax.convert."
        )
    network = classifier(str(header.get("arch")))
    if problem := difference(arrays, parameter_shapes(network.module)):
        raise UserError(f"{path} does not fit {network.arch}: {problem}.")
    check_sum(path, header, arrays)
    params = {name: jnp.asarray(a, jnp.float32) for name, a in arrays.items()}
    return network, unflatten_dict(params, sep="/")
