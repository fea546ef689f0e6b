"""Frozen ImageNet classifiers behind one interface: what E_loc is distilled from.

A classifier's weights come from a file that `python -m gcad_jax.convert` wrote.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gcad_jax.checks import UserError, one_of
from gcad_jax.files import Path
from gcad_jax.models import mobilenet, resnet, weight_files
from gcad_jax.types import Array, Features, Images, Tree

ARCHITECTURES = ("resnet18", "wide_resnet50_2", "mobilenet_v2")
FORMAT = "gcad_jax classifier"
VERSION = 1
KIND = "classifier"

# Per channel, RGB in [0, 1]: torchvision's statistics of the ImageNet training set.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network with the scaling that it was trained on. All methods can be jitted.

    module: images as `normalise` returns them -> maps, 'pooled' and 'logits' by name.
    num_features: D, width of the pooled features.
    normalise: images in [0, 1] -> what the network takes.
    first_class: index of ImageNet's first class in the logits.
    """

    module: nn.Module
    num_features: int
    normalise: Callable[[Images], Array]
    first_class: int = 0

    def outputs(self, params: Tree, images: Images) -> Mapping[str, Array]:
        """Everything that the network returns, by name, in one pass."""
        results: Mapping[str, Array] = self.module.apply(
            {"params": params}, self.normalise(images)
        )
        return results

    def pooled(self, params: Tree, images: Images) -> Array:  # (B, H, W, 3) -> (B, D)
        """Mean of the last map over its pixels; images in [0, 1]."""
        return self.outputs(params, images)["pooled"]

    def maps(self, params: Tree, images: Images) -> Mapping[str, Features]:
        """Name -> (B, h, w, C): 'layer1'... of a ResNet, 'stride4'... of MobileNet."""
        results = self.outputs(params, images)
        return {name: x for name, x in results.items() if x.ndim == 4}

    def logits(self, params: Tree, images: Images) -> Array:  # (B, H, W, 3)->(B, 1000)
        """Of the 1000 classes of ImageNet, in the order of their synsets."""
        return self.outputs(params, images)["logits"][:, self.first_class :]


def classifier(arch: str) -> Classifier:
    """The classifier called `arch`, one of ARCHITECTURES; float32.

    Raises:
      UserError: if there is none.
    """
    one_of("The architecture", arch, ARCHITECTURES)
    if arch == "mobilenet_v2":
        net = mobilenet.MobileNetV2()
        return Classifier(net, mobilenet.HEAD, plus_minus_one, first_class=1)
    if arch == "resnet18":
        return Classifier(resnet.resnet18(), 512, imagenet_normalised)
    return Classifier(resnet.wide_resnet50_2(), 2048, imagenet_normalised)


def imagenet_normalised(images: Images) -> Array:
    """[0, 1] to mean 0 and deviation 1 over ImageNet, per channel: torchvision's."""
    mean = jnp.asarray(IMAGENET_MEAN, images.dtype).reshape(1, 1, 1, 3)
    std = jnp.asarray(IMAGENET_STD, images.dtype).reshape(1, 1, 1, 3)
    return (images - mean) / std


def plus_minus_one(images: Images) -> Array:
    """[0, 1] to [-1, 1]: TensorFlow's scaling for MobileNet."""
    return 2 * images - 1


def save_classifier(
    path: Path,
    arch: str,
    params: Tree,
    stored_as: str = "float32",
    source: Mapping[str, Any] | None = None,
) -> None:
    """Writes the 'params' of the classifier called `arch`, whole or not at all.

    Args:
      path: of the .npz file.
      arch: one of ARCHITECTURES.
      params: as `module.init` returns under 'params'.
      stored_as: 'float32' or 'float16'.
      source: what they were converted from; free fields of the header.

    Raises:
      ValueError: if the parameters do not fit, or are not finite in the stored type.
      UserError: if `arch` is unknown or the file cannot be written.
    """
    needed = weight_files.parameter_shapes(classifier(arch).module)
    header = {"format": FORMAT, "version": VERSION, "arch": arch}
    header |= {"source": dict(source)} if source else {}
    weight_files.write(path, header, params, needed, stored_as)


def load_classifier(path: Path) -> tuple[str, Tree]:
    """The architecture and the 'params', float32, that `save_classifier` wrote.

    Raises:
      UserError: if the file is missing, damaged or no classifier's.
    """
    header, arrays = weight_files.read(path, FORMAT, VERSION, KIND)
    arch = header.get("arch")
    if arch not in ARCHITECTURES:
        raise UserError(
            f"{path} holds a classifier called {arch!r}; this program knows "
            f"{', '.join(ARCHITECTURES)}: convert one of them."
        )
    needed = weight_files.parameter_shapes(classifier(arch).module)
    return arch, weight_files.parameters(path, header, arrays, needed, arch)
