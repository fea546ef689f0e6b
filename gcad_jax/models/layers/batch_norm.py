"""Batch normalization whose statistics are those of the whole batch, on all devices."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gcad_jax.core.axes import BATCH
from gcad_jax.core.types import Array


class BatchNorm(nn.Module):
    """Normalizes each channel; defaults are PyTorch's.

    dtype: of the result; statistics and parameters are float32.
    momentum: what is kept of a running statistic with each batch.
    epsilon: added to the variance.
    """

    dtype: Any = jnp.float32
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """(B, ..., C); train: by the batch's statistics, else by the running ones.

        In training it needs the axis `BATCH`, over which the statistics are averaged,
        and the collection "batch_stats" to be mutable.
        """
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            dtype=self.dtype,
            axis_name=BATCH if train else None,
            name="norm",
        )(x)
