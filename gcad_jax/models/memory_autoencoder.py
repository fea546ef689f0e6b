"""MNAD's encoder and decoder in reconstruction mode (arXiv 2003.13228).

A U-Net's two halves without its skips: features at an eighth of the image's side, and
the way back from features and what the memory says of them.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gcad_jax.checks import multiple_of
from gcad_jax.models.batch_norm import BatchNorm
from gcad_jax.models.global_encoder import UpConvolution
from gcad_jax.models.init import torch_default
from gcad_jax.types import Array, Features, Images

WIDTHS = (64, 128, 256, 512)
STEP = 2 ** (len(WIDTHS) - 1)


class Convolution(nn.Module):
    """3x3, padding 1, then batch norm and ReLU unless it is bare."""

    width: int
    dtype: Any
    bare: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """(B, H, W, C) -> (B, H, W, width)."""
        init = torch_default(9 * x.shape[-1])
        x = nn.Conv(
            self.width,
            (3, 3),
            padding=1,
            use_bias=self.bare,  # a norm would take it away
            dtype=self.dtype,
            kernel_init=init,
            bias_init=init,
            name="conv",
        )(x)
        if self.bare:
            return x
        return nn.relu(BatchNorm(self.dtype, name="norm")(x, train))


class MemoryEncoder(nn.Module):
    """Blocks of two convolutions of these widths, with 2x2 pools between.

    The last convolution has neither batch norm nor activation.
    """

    widths: tuple[int, ...] = WIDTHS
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Images, train: bool) -> Features:
        """(B, H, W, C) -> (B, H/8, W/8, widths[-1]).

        Raises:
          UserError: if H or W is no multiple of 8.
        """
        multiple_of("The image height", x.shape[1], STEP)
        multiple_of("The image width", x.shape[2], STEP)
        last = len(self.widths) - 1
        for i, width in enumerate(self.widths):
            if i:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            x = Convolution(width, self.dtype, name=f"conv{i}_1")(x, train)
            x = Convolution(width, self.dtype, i == last, name=f"conv{i}_2")(x, train)
        return x


class MemoryDecoder(nn.Module):
    """The way back; without the encoder's skips, which only prediction mode has."""

    channels: int = 3
    widths: tuple[int, ...] = WIDTHS
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Features, train: bool) -> Images:
        """(B, H/8, W/8, 2 widths[-1]) -> (B, H, W, channels) in (-1, 1)."""
        for i in reversed(range(1, len(self.widths))):
            width = self.widths[i]
            x = Convolution(width, self.dtype, name=f"conv{i}_1")(x, train)
            x = Convolution(width, self.dtype, name=f"conv{i}_2")(x, train)
            x = UpConvolution(width, self.dtype, 3, use_bias=False, name=f"up{i}")(x)
            x = nn.relu(BatchNorm(self.dtype, name=f"up_norm{i}")(x, train))
        width = self.widths[0]
        x = Convolution(width, self.dtype, name="conv0_1")(x, train)
        x = Convolution(width, self.dtype, name="conv0_2")(x, train)
        x = Convolution(self.channels, self.dtype, True, name="conv_out")(x, train)
        return jnp.tanh(x)
