"""E_glo where its code is given: features of every place, straight from the code."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gcad_jax.core.types import Array, Features
from gcad_jax.models.layers.init import torch_dense


class CodeDecoder(nn.Module):
    """One linear layer from the code to all features of all places.

    A place has weights and a bias of its own, so that what good images have in common
    there is learned in a few updates, where convolutions need thousands.

    Attributes:
      features: channels of the result.
      size: (height, width) of the result.
      dtype: of the computation and of the result; parameters are float32.
    """

    features: int
    size: tuple[int, int]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, code: Array, skips: Array | None = None
    ) -> Features:  # (B, g) -> (B, h, w, features)
        """The features of every place. skips: there are none to fade."""
        height, width = self.size
        x = torch_dense(code, height * width * self.features, dtype=self.dtype)
        return x.reshape(x.shape[0], height, width, self.features)
