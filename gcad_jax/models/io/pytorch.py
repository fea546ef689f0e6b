"""Files of PyTorch's tensors: .safetensors, and what torch.save writes.

Neither needs PyTorch.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from gcad_jax.core.errors import UserError, one_line
from gcad_jax.core.paths import as_readable
from gcad_jax.models.io import pickled

Arrays = dict[str, np.ndarray]

COUNTER = "num_batches_tracked"  # training steps of a batch norm; nothing reads it
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
    return without_prefix_and_counters(tensors)


def read_pickled(path: epath.Path) -> Arrays:
    """Tensors by name of a .pth file; no code in the file is run.

    Raises:
      UserError: the file is damaged or holds other things than tensors.
    """
    try:
        tensors = pickled.read_tensors(io.BytesIO(path.read_bytes()))
    except pickled.DAMAGE as error:
        raise UserError(
            f"{path} is damaged or holds more than tensors ({one_line(error)}); copy "
            "it again, or save the state dict of the network."
        ) from error
    return without_prefix_and_counters(tensors)


def without_prefix_and_counters(tensors: Mapping[str, Any]) -> Arrays:
    """The tensors under plain names, less the counters of batch norms."""
    if tensors and all(name.startswith(PREFIX) for name in tensors):
        tensors = {name.removeprefix(PREFIX): t for name, t in tensors.items()}
    return {n: t for n, t in tensors.items() if n.rpartition(".")[2] != COUNTER}
