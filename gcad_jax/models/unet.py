"""The U-Net of R_loc and R_glo [P 5.2; github.com/jvanvugt/pytorch-unet, unet.py]."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gcad_jax.core.checks import multiple_of
from gcad_jax.core.types import Array, Features, Images
from gcad_jax.models.layers.init import scaled, torch_conv, torch_default


class UNet(nn.Module):
    """Encoder and decoder with concatenated skips, size kept, last layer linear.

    `depth` blocks on the way down, with 2x2 pools between, and `depth` - 1 on the way
    up, each after a 2x2 transposed convolution. Zero padding of one pixel. At 256
    pixels the bottleneck is 16x16x1024 [P 5.2], which fixes depth 5.

    Attributes:
      features: channels of the result.
      width: factor on all hidden widths.
      base: channels of the first block; doubled at each level.
      depth: levels.
      dtype: of the computation and of the result; parameters are float32.
    """

    features: int
    width: float = 1.0
    base: int = 64
    depth: int = 5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Images) -> Features:  # (B, H, W, C) -> (B, H, W, D)
        """The features of every pixel.

        Raises:
          UserError: if H or W is no multiple of 2^(depth - 1).
        """
        multiple_of("The image height", images.shape[1], 2 ** (self.depth - 1))
        multiple_of("The image width", images.shape[2], 2 ** (self.depth - 1))
        widths = [scaled(self.base * 2**i, self.width) for i in range(self.depth)]
        skips = []
        x = images
        for i, width in enumerate(widths):
            x = Block(width, self.dtype, name=f"down{i}")(x if i == 0 else halve(x))
            skips.append(x)
        for i in reversed(range(self.depth - 1)):
            x = TransposedConvolution(widths[i], self.dtype, name=f"upconv{i}")(x)
            x = jnp.concatenate([x, skips[i]], axis=-1)
            x = Block(widths[i], self.dtype, name=f"up{i}")(x)
        return torch_conv(x, self.features, 1, dtype=self.dtype, name="out")


class Block(nn.Module):
    """Two 3x3 convolutions, a ReLU after each."""

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:  # (B, H, W, C) -> (B, H, W, width)
        """Same size, `width` channels."""
        for i in (1, 2):
            options = {"padding": 1, "dtype": self.dtype, "name": f"conv{i}"}
            x = relu(torch_conv(x, self.width, 3, **options))
        return x


class TransposedConvolution(nn.Module):
    """2x2 transposed convolution of stride 2.

    Its windows do not overlap, so it is one matrix product to 2 * 2 * width channels,
    laid out in space. Kernel (2, 2, in, width): row and column of the output within
    the window, as in PyTorch (Flax's ConvTranspose stores it flipped).
    """

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:  # (B, H, W, C) -> (B, 2 H, 2 W, width)
        """Twice the size, `width` channels."""
        batch, height, width, channels = x.shape
        init = torch_default(4 * self.width)
        kernel = self.param("kernel", init, (2, 2, channels, self.width), jnp.float32)
        bias = self.param("bias", init, (self.width,), jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        # A product for each row of the windows: its result already lies in the order of
        # the image, where one product for both would have to be transposed.
        rows = [jnp.einsum("bhwi,cio->bhwco", x, kernel[r]) for r in (0, 1)]
        rows = [y.reshape(batch, height, 2 * width, self.width) for y in rows]
        x = jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, self.width)
        return x + bias.reshape(1, 1, 1, self.width)


@jax.custom_jvp
def relu(x: Array) -> Array:
    """max(x, 0), with the gradient of `nn.relu`, read off the result.

    What came before need not be kept then, and XLA joins the maximum to the convolution
    before it.
    """
    return jnp.maximum(x, 0)


@relu.defjvp
def _relu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (change,) = primals, tangents
    y = relu(x)
    return y, jnp.where(y > 0, change, jnp.zeros_like(change))


def halve(x: Array) -> Array:  # (B, H, W, C) -> (B, H/2, W/2, C)
    """2x2 maximum of stride 2; H and W even.

    Written with `maximum`, because the gradient of a pooling window
    (select-and-scatter) is slow; equal maxima share the gradient.
    """
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width, channels)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1])
    x = x.reshape(batch, height // 2, width // 2, 2, channels)
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])
