"""Initial weights and scaled widths, shared by all networks."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from gcad_jax.types import Array, Key

MINIMUM_WIDTH = 4


def scaled(width: int, factor: float) -> int:
    """`width` channels times `factor`, rounded, at least 4."""
    return max(MINIMUM_WIDTH, round(width * factor))


def torch_default(fan_in: int) -> Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for kernels and biases.

    For kernels it is `variance_scaling(1/3, 'fan_in', 'uniform')`; a bias has the
    bound of its kernel, so the fan is an argument instead of being read off the
    shape. A convolution has fan_in = in * k * k; PyTorch counts a transposed
    convolution as out * k * k (the layout of its weight is in, out, k, k).
    """
    bound = fan_in**-0.5

    def init(
        key: Key, shape: Sequence[Any], dtype: Any = None, out_sharding: Any = None
    ) -> Array:
        del out_sharding  # part of the type; parameters are placed by the trainer
        return jax.random.uniform(key, shape, dtype or jnp.float32, -bound, bound)

    return init
