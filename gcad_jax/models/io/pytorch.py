"""Weights of PyTorch networks: their files, the ResNets of torchvision and timm, PDNs.

A .safetensors file needs no PyTorch. Axes: PyTorch's kernels are (out, in, rows,
columns), ours (rows, columns, in, out).
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from gcad_jax.core.errors import UserError, one_line
from gcad_jax.core.paths import as_readable
from gcad_jax.models.io.npz import difference
from gcad_jax.models.patch_layers import Layer

Tensors = Mapping[str, np.ndarray]
Arrays = dict[str, np.ndarray]

EPSILON = 1e-5  # of PyTorch's batch norms
COUNTER = "num_batches_tracked"  # training steps of a batch norm; nothing reads it
WRAPPERS = ("state_dict", "model")
PREFIX = "module."  # of torch.nn.DataParallel


def read_safetensors(path: epath.Path) -> Arrays:
    """Tensors by name; raises UserError for a damaged file."""
    # Costs nothing to those who never convert.
    from safetensors import SafetensorError
    from safetensors.numpy import load, load_file

    try:
        source = as_readable(path)
        if isinstance(source, str):
            tensors = load_file(source)
        else:
            tensors = load(source.getvalue())
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged or no .safetensors file ({error}); copy it again."
        ) from error
    return _without_prefix_and_counters(tensors)


def read_pickled(path: epath.Path) -> Arrays:
    """Tensors by name of a .pth file, by PyTorch; no code in the file is run.

    Raises:
      UserError: PyTorch is not installed, or the file is damaged or holds other
        things than tensors.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} can only be read with PyTorch (pip install torch); or give the "
            "weights as .safetensors."
        ) from error
    try:
        content = torch.load(as_readable(path), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its readers do
        raise UserError(
            f"{path} is damaged or holds more than tensors ({one_line(error)}); copy "
            "it again, or save the state dict of the network."
        ) from error
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} holds a {type(content).__name__}; needed is a state dict."
        )
    tensors: dict[str, np.ndarray] = {}
    for name, tensor in content.items():
        if not isinstance(tensor, torch.Tensor):
            raise UserError(
                f"{path}: {name} is a {type(tensor).__name__}; needed are tensors."
            )
        # NumPy has no bfloat16.
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        tensors[str(name)] = tensor.detach().numpy()
    return _without_prefix_and_counters(tensors)


def _without_prefix_and_counters(tensors: Mapping[str, Any]) -> Arrays:
    if tensors and all(name.startswith(PREFIX) for name in tensors):
        tensors = {name.removeprefix(PREFIX): t for name, t in tensors.items()}
    return {n: t for n, t in tensors.items() if n.rpartition(".")[2] != COUNTER}


def resnet(
    tensors: Tensors, source: object, shapes: Mapping[str, tuple[int, ...]]
) -> Arrays:
    """A ResNet from 'conv1.weight', 'bn1.weight', ..., its batch norms folded in.

    shapes: of our arrays, 'conv1/kernel' and so on.

    Raises:
      UserError: a tensor is missing, unknown or misshapen, or the fold is not finite.
    """
    layers = [name.rpartition("/")[0] for name in shapes if name.endswith("/kernel")]
    # The batch norm after a convolution: layer1.0.bn2 after layer1.0.conv2.
    norms = {
        layer: f"{layer}.1" if "downsample" in layer else layer.replace("conv", "bn")
        for layer in layers
        if layer != "fc"
    }
    parts = ("weight", "bias", "running_mean", "running_var")
    needed: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        shape = shapes[f"{layer}/kernel"]
        needed[_kernel(layer)] = shape[::-1][:2] + shape[:-2]
        vectors = ["fc.bias"]
        if layer in norms:
            vectors = [f"{norms[layer]}.{part}" for part in parts]
        needed |= dict.fromkeys(vectors, shape[-1:])
    if problem := difference(tensors, needed):
        raise UserError(f"{source} does not fit: {problem}.")
    arrays: Arrays = {}
    for layer in layers:
        kernel = tensors[_kernel(layer)]
        if layer == "fc":
            arrays["fc/kernel"], arrays["fc/bias"] = kernel.T, tensors["fc.bias"]
            continue
        weight, bias, mean, variance = (
            tensors[f"{norms[layer]}.{part}"].astype(np.float64) for part in parts
        )
        if variance.min() < 0:
            raise UserError(f"{source}: {norms[layer]}.running_var is negative.")
        scale = weight / np.sqrt(variance + EPSILON)
        folded = kernel.transpose(2, 3, 1, 0) * scale
        arrays[f"{layer}/kernel"] = folded.astype(np.float32)
        arrays[f"{layer}/bias"] = (bias - mean * scale).astype(np.float32)
    return arrays


def pdn(
    tensors: Tensors,
    source: object,
    layers: Sequence[Layer],
    shapes: Mapping[str, tuple[int, ...]],
) -> Arrays:
    """A patch description network: 'conv1.weight' of anomalib, or '0.weight'.

    Numbers are those of an nn.Sequential, as in nelson1425/EfficientAD. The mean and
    deviation of the outputs, which both keep elsewhere, are not needed: features are
    normalized for each category.

    layers: of the network. shapes: of our arrays, 'conv1/kernel' and so on.

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


def _kernel(layer: str) -> str:
    return f"{layer}.0.weight" if layer.endswith("downsample") else f"{layer}.weight"
