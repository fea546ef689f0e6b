"""Generator, discriminator and encoder of f-AnoGAN (Schlegl et al., 2019).

The residual networks of WGAN-GP (arXiv 1704.00028) for 64 x 64 pixels.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gcad_jax.core.types import Array, Images
from gcad_jax.models.layers.batch_norm import BatchNorm
from gcad_jax.models.layers.init import uniform

FIRST_SIDE = 4
WIDTHS = (64, 128, 256, 512)


def side(widths: tuple[int, ...]) -> int:
    """Of the images, in pixels: each width halves it once, down to 4."""
    return int(FIRST_SIDE * 2 ** len(widths))


def convolution(
    x: Array, width: int, size: int, name: str, dtype: Any, **options: Any
) -> Array:
    """A square kernel on (B, H, W, C), padded with zeros to keep the side.

    Its weights are uniform at first. gain: in options; the variance is
    gain / (fan in + fan out): 4 within a residual block and at the generator's end,
    else 2.
    """
    gain = options.pop("gain", 2)
    deviation = math.sqrt(gain / (size * size * (x.shape[-1] + width)))
    return nn.Conv(
        width,
        (size, size),
        dtype=dtype,
        kernel_init=uniform(deviation * math.sqrt(3)),
        name=name,
        **options,
    )(x)


def dense(x: Array, width: int, name: str, dtype: Any) -> Array:
    """Linear on (B, C), with the deviation of `convolution`."""
    deviation = math.sqrt(2 / (x.shape[-1] + width))
    init = uniform(deviation * math.sqrt(3))
    return nn.Dense(width, dtype=dtype, kernel_init=init, name=name)(x)


class Normalized(nn.Module):
    """Batch norm, or layer norm over a whole image with a scale for each channel.

    momentum: of the batch norm's running statistics; None for layer norm.
    """

    momentum: float | None
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """(B, H, W, C); train: batch norm takes the statistics of the batch."""
        if self.momentum is not None:
            return BatchNorm(self.dtype, momentum=self.momentum, epsilon=1e-3)(x, train)
        return nn.LayerNorm(
            epsilon=1e-5, dtype=self.dtype, reduction_axes=(1, 2, 3), feature_axes=-1
        )(x)


class Residual(nn.Module):
    """norm, ReLU, 3x3, norm, ReLU, 3x3, beside a 1x1; twice or half the side."""

    width: int
    up: bool
    momentum: float | None
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """(B, H, W, C) -> (B, 2 H, 2 W, width), or (B, H/2, W/2, width)."""
        dtype = self.dtype
        inner = self.width if self.up else x.shape[-1]
        resize = upsample if self.up else downsample
        # A shortcut downwards halves the side first: a 1x1 convolution of fewer pixels.
        shortcut = convolution(resize(x), self.width, 1, "shortcut", dtype)
        y = nn.relu(Normalized(self.momentum, dtype, name="norm1")(x, train))
        y = resize(y) if self.up else y
        y = convolution(y, inner, 3, "conv1", dtype, gain=4, use_bias=False)
        y = nn.relu(Normalized(self.momentum, dtype, name="norm2")(y, train))
        y = convolution(y, self.width, 3, "conv2", dtype, gain=4)
        return shortcut + (y if self.up else resize(y))


def upsample(x: Array) -> Array:  # (B, H, W, C) -> (B, 2 H, 2 W, C)
    """Each pixel four times."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def downsample(x: Array) -> Array:  # (B, H, W, C) -> (B, H/2, W/2, C)
    """Means of 2 x 2 pixels."""
    return nn.avg_pool(x, (2, 2), strides=(2, 2))


class Generator(nn.Module):
    """z to an image in (-1, 1)."""

    channels: int = 1
    widths: tuple[int, ...] = WIDTHS
    momentum: float = 0.99
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, train: bool) -> Images:
        """(B, d) -> (B, S, S, channels)."""
        last = self.widths[-1]
        x = dense(z, FIRST_SIDE**2 * last, "from_z", self.dtype)
        x = x.reshape(-1, FIRST_SIDE, FIRST_SIDE, last)
        for i in reversed(range(len(self.widths))):
            x = Residual(
                self.widths[i], True, self.momentum, self.dtype, name=f"up{i}"
            )(x, train)
        x = nn.relu(Normalized(self.momentum, self.dtype, name="norm_out")(x, train))
        y = convolution(x, self.channels, 3, "conv_out", self.dtype, gain=4)
        return jnp.tanh(y)


class Downward(nn.Module):
    """The residual halves of discriminator and encoder: image to features."""

    momentum: float | None
    widths: tuple[int, ...]
    dtype: Any

    @nn.compact
    def __call__(self, x: Images, train: bool) -> Array:
        """(B, S, S, C) -> (B, 16 widths[-1])."""
        first, *others = self.widths
        x = convolution(x, first, 3, "conv_in", self.dtype)
        for i, width in enumerate([*others, self.widths[-1]]):
            x = Residual(width, False, self.momentum, self.dtype, name=f"down{i}")(
                x, train
            )
        return x.reshape(x.shape[0], -1)


class Discriminator(nn.Module):
    """WGAN's critic: a number an image, and the features f before it."""

    widths: tuple[int, ...] = WIDTHS
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Images) -> tuple[Array, Array]:
        """(B, S, S, C) in [-1, 1] -> (B,), (B, F)."""
        f = Downward(None, self.widths, self.dtype, name="features")(images, False)
        return dense(f, 1, "to_score", self.dtype)[:, 0], f


class ImageEncoder(nn.Module):
    """An image to z in (-1, 1), for the generator to draw it again."""

    size: int = 128
    widths: tuple[int, ...] = WIDTHS
    momentum: float = 0.99
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Images, train: bool) -> Array:
        """(B, S, S, C) in [-1, 1] -> (B, size)."""
        f = Downward(self.momentum, self.widths, self.dtype, name="features")(
            images, train
        )
        return jnp.tanh(dense(f, self.size, "to_z", self.dtype))
