"""Weights as others publish them -> arrays under our names.

Every tensor is accounted for: one that is unknown or missing is named.
"""

import functools
import hashlib
import itertools
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from etils import epath
from flax.traverse_util import unflatten_dict

from gcad_jax.core.atomic_files import check_writable
from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import Path, as_path, fingerprint, is_same_file
from gcad_jax.models.classifiers import mobilenet
from gcad_jax.models.classifiers.classifier import classifier, save_classifier
from gcad_jax.models.classifiers.inverted_residuals import layer_names
from gcad_jax.models.io.npz import HEADER, parameter_shapes, read_arrays
from gcad_jax.models.io.patch_descriptors import save_descriptor
from gcad_jax.models.io.pytorch import read_pickled, read_safetensors
from gcad_jax.models.io.state_dicts import (
    DIALECTS,
    EPSILON,
    EPSILON_TENSORFLOW,
    inverted_residuals,
    pdn,
    resnet,
)
from gcad_jax.models.patch_descriptor import published
from gcad_jax.models.patch_layers import PDNS, layers

Tensors = Mapping[str, np.ndarray]
Arrays = dict[str, np.ndarray]


def convert(arch: str, source: str, output: str) -> str:
    """Converts a file of published weights; returns a sentence of what was written.

    arch: of `CONVERSIONS`. source: the file, of a suffix of `READERS`. output: the
    weight file, NAME.npz.

    Raises:
      UserError: another architecture, a file that cannot be read, a tensor that is
        unknown, missing, of another shape or not finite; nothing is written then.
    """
    one_of("arch", arch, CONVERSIONS)
    target = as_path(output)
    if target.suffix != ".npz":
        raise UserError(f"output={output} must end in .npz.", "output")
    if is_same_file(target, source):
        raise UserError(
            f"output={output} is the file that is converted; give another name, so "
            "that the published weights are kept.",
            "output",
        )
    check_writable(target.parent, [target.name], "output")
    tensors = read_tensors(source)
    arrays = CONVERSIONS[arch](tensors, source)
    digest = hashlib.sha256(as_path(source).read_bytes()).hexdigest()
    origin = {"file": as_path(source).name, "sha256": digest}
    if arch in PDNS:
        params = unflatten_dict(arrays, sep="/")
        save_descriptor(target, params, published(arch), source=origin)
    else:
        save_classifier(target, arch, arrays, origin)
    count = sum(array.size for array in arrays.values())
    return (
        f"{target}: {arch}, {len(arrays)} arrays, {count:,} parameters, "
        f"{fingerprint(target)[0] / 1e6:.1f} MB"
    )


def read_tensors(path: Path) -> Tensors:
    """Tensors by name of an .npz, .safetensors or .pth file, float32.

    Raises:
      UserError: it is missing, of another kind, damaged, or not finite.
    """
    file = as_path(path)
    if not file.is_file():
        raise UserError(
            f"{path} does not exist or is no file; check input=FILE.", "input"
        )
    if file.suffix not in READERS:
        raise UserError(
            f"{path} ends in {file.suffix or 'no suffix'!r}; "
            f"{', '.join(READERS)} can be read."
        )
    tensors = READERS[file.suffix](file)
    if not tensors:
        raise UserError(f"{path} holds no tensor.")
    if HEADER in tensors:
        raise UserError(
            f"{path} is a weight file of this program already; give the published "
            "weights that it was made from, or use it as it is."
        )
    wrong = [n for n, t in tensors.items() if not jnp.issubdtype(t.dtype, jnp.floating)]
    if wrong:
        raise UserError(
            f"{path}: {wrong[0]} has type {tensors[wrong[0]].dtype}; needed are floats."
        )
    # A float64 may overflow: found by the next check, with a name.
    with np.errstate(over="ignore"):
        floats = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    for name, tensor in floats.items():
        if not np.isfinite(tensor).all():
            raise UserError(f"{path}: {name} has values that are not finite.")
    return floats


READERS: Mapping[str, Callable[[epath.Path], Arrays]] = {
    ".npz": read_arrays,
    ".safetensors": read_safetensors,
    ".pth": read_pickled,
    ".pt": read_pickled,
}


def mobilenet_v2(tensors: Tensors, source: Path) -> Arrays:
    """MobileNetV2 from '001.CONV_2D.w' (OHWI), '002.DEPTHWISE_CONV_2D.w' (1HWC), ...

    The numbers give the order of the layers; the shapes are checked by whoever takes
    the arrays. Raises UserError for a tensor that is missing or unknown.
    """
    if DIALECTS.keys() & tensors.keys():
        raise UserError(
            f"{source} is a state dict of PyTorch, whose MobileNetV2 pads otherwise; "
            "set arch=mobilenet_v2_torch.",
            "arch",
        )
    names = layer_names(mobilenet.STAGES)
    kinds = ["DEPTHWISE_CONV_2D" if "depthwise" in n else "CONV_2D" for n in names]
    stems = sorted({name.rpartition(".")[0] for name in tensors})
    layers_there = [stem.partition(".")[2] for stem in stems]
    if layers_there != kinds or any(name[-2:] not in (".w", ".b") for name in tensors):
        pairs = enumerate(itertools.zip_longest(layers_there, kinds))
        place = next((i for i, (at, kind) in pairs if at != kind), len(kinds))
        at = stems[place] if place < len(stems) else "nothing"
        needed = kinds[place] if place < len(kinds) else "nothing more"
        raise UserError(
            f"{source} is no MobileNetV2 1.0: layer {place + 1} of {len(kinds)} is "
            f"{at!r}, needed is {needed}, with arrays '.w' and '.b'."
        )
    arrays: Arrays = {}
    for stem, name in zip(stems, names, strict=True):
        for part in (".w", ".b"):
            if stem + part not in tensors:
                raise UserError(f"{source} lacks {stem + part!r}.")
        kernel = tensors[stem + ".w"]
        if kernel.ndim != 4:
            raise UserError(
                f"{source}: {stem}.w has shape {kernel.shape}; needed are 4 axes."
            )
        # (1, H, W, C) -> (H, W, 1, C); (O, H, W, I) -> (H, W, I, O)
        kernel = np.moveaxis(kernel, 0, 2 if "depthwise" in name else 3)
        arrays[f"{name}/kernel"] = kernel[0, 0] if name == "logits" else kernel
        arrays[f"{name}/bias"] = tensors[stem + ".b"]
    return arrays


def _resnet(arch: str, tensors: Tensors, source: Path) -> Arrays:
    """From torchvision's or timm's state dict."""
    return resnet(tensors, source, parameter_shapes(classifier(arch).module))


def _inverted_residuals(
    arch: str, epsilon: float, tensors: Tensors, source: Path
) -> Arrays:
    module = classifier(arch).module
    shapes = parameter_shapes(module)
    return inverted_residuals(tensors, source, module.stages, shapes, epsilon)


def _pdn(arch: str, tensors: Tensors, source: Path) -> Arrays:
    """PDN-S or PDN-M from the state dict of anomalib or nelson1425/EfficientAD."""
    network = published(arch)
    shapes = parameter_shapes(network)
    return pdn(tensors, source, layers(network.p, arch), shapes)


CONVERSIONS: Mapping[str, Callable[[Tensors, Path], Arrays]] = {
    "mobilenet_v2": mobilenet_v2,
    **{
        arch: functools.partial(_inverted_residuals, arch, epsilon)
        for arch, epsilon in (
            ("mobilenet_v2_torch", EPSILON),
            ("efficientnet_lite0", EPSILON_TENSORFLOW),
            ("efficientnet_lite0_torch", EPSILON),
        )
    },
    **{
        arch: functools.partial(_resnet, arch)
        for arch in ("resnet18", "wide_resnet50_2")
    },
    **{arch: functools.partial(_pdn, arch) for arch in PDNS},
}
