"""State dicts of PyTorch, as others publish them -> arrays under our names.

Axes: PyTorch's kernels are (out, in, rows, columns), ours (rows, columns, in, out). The
in of a depthwise kernel is 1 in both.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gcad_jax.core.errors import UserError
from gcad_jax.models.classifiers.inverted_residuals import Stage, layer_names
from gcad_jax.models.io.npz import difference
from gcad_jax.models.patch_layers import Layer

Tensors = Mapping[str, np.ndarray]
Arrays = dict[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]  # of our arrays, 'conv1/kernel' and so on

# What batch norms add to a variance: PyTorch's, and TensorFlow's in EfficientNets.
EPSILON, EPSILON_TENSORFLOW = 1e-5, 1e-3


class Names(NamedTuple):
    """What a state dict calls a layer: '' for the batch norm of one that has none."""

    layer: str
    norm: str


def folded(
    tensors: Tensors,
    source: object,
    names: Mapping[str, Names],
    shapes: Shapes,
    epsilon: float = EPSILON,
) -> Arrays:
    """Kernels and biases, with the batch norms behind the layers folded in.

    names: theirs, by ours. epsilon: of the batch norms.

    Raises:
      UserError: a tensor is missing, unknown or misshapen, or the fold is not finite.
    """
    parts = ("weight", "bias", "running_mean", "running_var")
    needed: dict[str, tuple[int, ...]] = {}
    for ours, theirs in names.items():
        shape = shapes[f"{ours}/kernel"]
        needed[f"{theirs.layer}.weight"] = shape[::-1][:2] + shape[:-2]
        vectors = [f"{theirs.norm}.{part}" for part in parts]
        if not theirs.norm:
            vectors = [f"{theirs.layer}.bias"]
        needed |= dict.fromkeys(vectors, shape[-1:])
    if problem := difference(tensors, needed):
        raise UserError(f"{source} does not fit: {problem}.")
    arrays: Arrays = {}
    for ours, theirs in names.items():
        kernel = tensors[f"{theirs.layer}.weight"]
        kernel = kernel.transpose(*range(2, kernel.ndim), 1, 0)
        if not theirs.norm:
            arrays[f"{ours}/kernel"] = kernel
            arrays[f"{ours}/bias"] = tensors[f"{theirs.layer}.bias"]
            continue
        weight, bias, mean, variance = (
            tensors[f"{theirs.norm}.{part}"].astype(np.float64) for part in parts
        )
        if variance.min() < 0:
            raise UserError(f"{source}: {theirs.norm}.running_var is negative.")
        scale = weight / np.sqrt(variance + epsilon)
        arrays[f"{ours}/kernel"] = (kernel * scale).astype(np.float32)
        arrays[f"{ours}/bias"] = (bias - mean * scale).astype(np.float32)
    return arrays


def resnet(tensors: Tensors, source: object, shapes: Shapes) -> Arrays:
    """A ResNet from 'conv1.weight', 'bn1.weight', ...; raises as `folded`."""
    layers = [name.rpartition("/")[0] for name in shapes if name.endswith("/kernel")]
    names = {}
    for layer in layers:
        # The batch norm after a convolution: layer1.0.bn2 after layer1.0.conv2.
        names[layer] = Names(layer, layer.replace("conv", "bn"))
        if layer.endswith("downsample"):
            names[layer] = Names(f"{layer}.0", f"{layer}.1")
    names["fc"] = Names("fc", "")
    return folded(tensors, source, names, shapes)


def inverted_residuals(
    tensors: Tensors,
    source: object,
    stages: tuple[Stage, ...],
    shapes: Shapes,
    epsilon: float = EPSILON,
) -> Arrays:
    """MobileNetV2 or EfficientNet-Lite0 of torchvision, timm or efficientnet-pytorch.

    Raises:
      UserError: names of none of the three; else as `folded`.
    """
    for first, theirs in DIALECTS.items():
        if first in tensors:
            names = dict(zip(layer_names(stages), theirs(stages), strict=True))
            return folded(tensors, source, names, shapes, epsilon)
    raise UserError(
        f"{source} has none of {', '.join(DIALECTS)}, by which the state dicts of "
        "torchvision, timm and efficientnet-pytorch are known; give one of theirs."
    )


def _of_torchvision(stages: tuple[Stage, ...]) -> Iterator[Names]:
    yield Names("features.0.0", "features.0.1")
    number = 0
    for stage in stages:
        for _ in range(stage.blocks):
            number += 1
            stem, wide = f"features.{number}.conv", int(stage.expansion > 1)
            for i in range(1 + wide):
                yield Names(f"{stem}.{i}.0", f"{stem}.{i}.1")
            yield Names(f"{stem}.{1 + wide}", f"{stem}.{2 + wide}")
    yield Names(f"features.{number + 1}.0", f"features.{number + 1}.1")
    yield Names("classifier.1", "")


def _of_timm(stages: tuple[Stage, ...]) -> Iterator[Names]:
    yield Names("conv_stem", "bn1")
    for s, stage in enumerate(stages):
        parts = ["conv_dw", "conv_pw"]
        if stage.expansion > 1:
            parts = ["conv_pw", "conv_dw", "conv_pwl"]
        for b in range(stage.blocks):
            for i, part in enumerate(parts, start=1):
                yield Names(f"blocks.{s}.{b}.{part}", f"blocks.{s}.{b}.bn{i}")
    yield Names("conv_head", "bn2")
    yield Names("classifier", "")


def _of_efficientnet_pytorch(stages: tuple[Stage, ...]) -> Iterator[Names]:
    yield Names("_conv_stem", "_bn0")
    number = 0
    for stage in stages:
        for _ in range(stage.blocks):
            stem = f"_blocks.{number}"
            if stage.expansion > 1:
                yield Names(f"{stem}._expand_conv", f"{stem}._bn0")
            yield Names(f"{stem}._depthwise_conv", f"{stem}._bn1")
            yield Names(f"{stem}._project_conv", f"{stem}._bn2")
            number += 1
    yield Names("_conv_head", "_bn1")
    yield Names("_fc", "")


# By a tensor that only the one has.
DIALECTS = {
    "features.0.0.weight": _of_torchvision,
    "conv_stem.weight": _of_timm,
    "_conv_stem.weight": _of_efficientnet_pytorch,
}


def pdn(
    tensors: Tensors,
    source: object,
    layers: Sequence[Layer],
    shapes: Shapes,
) -> Arrays:
    """A patch description network: 'conv1.weight' of anomalib, or '0.weight'.

    Numbers are those of an nn.Sequential, as in nelson1425/EfficientAD. The mean and
    deviation of the outputs, which both keep elsewhere, are not needed: features are
    normalized for each category.

    layers: of the network.

    Raises:
      UserError: a tensor is missing, unknown or misshapen.
    """
    theirs = [f"conv{i + 1}" for i in range(len(layers))]
    ours = [*theirs[:-1], "conv_out"]
    if not any(name.startswith("conv") for name in tensors):
        # Places in an nn.Sequential, where ReLU and pool have one, too.
        widths = [2 + layer.pooled for layer in layers[:-1]]
        theirs = [str(place) for place in itertools.accumulate(widths, initial=0)]
    needed: dict[str, tuple[int, ...]] = {}
    arrays: Arrays = {}
    for their, our in zip(theirs, ours, strict=True):
        shape = shapes[f"{our}/kernel"]
        needed[f"{their}.weight"] = shape[::-1][:2] + shape[:-2]
        needed[f"{their}.bias"] = shape[-1:]
    if problem := difference(tensors, needed):
        raise UserError(
            f"{source} does not fit: {problem}; check arch=ARCH and input=FILE.",
            "arch",
            "input",
        )
    for their, our in zip(theirs, ours, strict=True):
        arrays[f"{our}/kernel"] = tensors[f"{their}.weight"].transpose(2, 3, 1, 0)
        arrays[f"{our}/bias"] = tensors[f"{their}.bias"]
    return arrays
