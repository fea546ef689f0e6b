"""U: from the features of E_glo to those of E_loc, pixel by pixel [P 4, 5.2]."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gcad_jax.core.types import Features
from gcad_jax.models.layers.init import torch_dense


class Upsampler(nn.Module):
    """Three 1x1 convolutions with leaky ReLUs between them [P 5.2].

    The paper does not print the hidden widths and the slope.

    Attributes:
      d_loc: dimension of the result.
      widths: channels of the two hidden layers.
      slope: slope of the leaky ReLU.
      dtype: of the computation and of the result; parameters are float32.
    """

    d_loc: int = 128
    widths: tuple[int, ...] = (64, 128)
    slope: float = 5e-3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:  # (B, H, W, d_glo) -> (B, H, W, d_loc)
        """Raises each pixel's features to dimension d_loc."""
        for i, width in enumerate((*self.widths, self.d_loc)):
            # A 1x1 convolution is a dense layer on the channel axis.
            x = torch_dense(x, width, dtype=self.dtype, name=f"conv{i + 1}")
            if i < len(self.widths):
                x = nn.leaky_relu(x, self.slope)
        return x
