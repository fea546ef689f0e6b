"""E_glo: features of every pixel through one code of g numbers [P 4, 5.2, Fig. 7].

Five 4x4 convolutions of stride 2, a code of g dimensions, and the way back. Skip
connections pass around the code while their weights fade to zero; from then on
everything that the result says about the image goes through the code.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gcad_jax.core.checks import multiple_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array, Features, Images
from gcad_jax.models.layers.batch_norm import BatchNorm
from gcad_jax.models.layers.convolution import convolve
from gcad_jax.models.layers.init import torch_conv, torch_default, torch_dense
from gcad_jax.models.layers.skip_fading import NUM_SKIPS


class GlobalEncoder(nn.Module):
    """E_glo. Initialize with `skips` = ones: the skip layers must have parameters.

    The paper fixes the 4x4 convolutions, g, d_glo and the five additive skips; the
    widths (its Fig. 7) and the slope are chosen between two networks of the same group
    (SSIM autoencoder, EfficientAD).

    Attributes:
      d_glo: channels of the result.
      g: dimension of the code.
      widths: channels after each of the five convolutions, upper level first.
      slope: slope of the leaky ReLU.
      dtype: of the computation and of the result; parameters are float32.
    """

    d_glo: int = 10
    g: int = 32
    widths: tuple[int, ...] = (32, 32, 64, 64, 128)
    slope: float = 5e-3
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Both halves; the width of each level is shared."""
        if len(self.widths) != NUM_SKIPS:
            raise UserError(f"E_glo needs {NUM_SKIPS} widths; {self.widths} given.")
        self.encoder = Encoder(self.g, self.widths, self.slope, self.dtype)
        self.decoder = Decoder(self.d_glo, self.widths, self.slope, self.dtype)

    def __call__(
        self,
        images: Images,  # (B, H, W, C)
        skips: Array | None,  # (5,)
    ) -> Features:  # (B, H, W, d_glo)
        """The features of every pixel.

        Args:
          images: H and W multiples of 32; the parameters belong to one size.
          skips: weights of the skips; None leaves the branches out of the graph, which
            gives what zeros give, for less.

        Raises:
          UserError: if H or W is no multiple of 32.
        """
        code, levels = self.encoder(images)
        return self.decoder(code, levels, skips)


class Encoder(nn.Module):
    """From the image to the code of g numbers.

    batch_norm: after every convolution but the last; E_glo has none.
    """

    g: int
    widths: tuple[int, ...]
    slope: float
    dtype: Any
    batch_norm: bool = False

    @nn.compact
    def __call__(
        self, x: Images, train: bool = False
    ) -> tuple[Array, tuple[Array, ...]]:
        """(B, H, W, C) -> code (B, g), levels (B, H/2, W/2, widths[0]) and down.

        train: batch norms take the statistics of the batch.
        """
        step = 2 ** len(self.widths)
        multiple_of("The image height", x.shape[1], step)
        multiple_of("The image width", x.shape[2], step)
        levels = []
        for i, width in enumerate(self.widths):
            x = torch_conv(
                x,
                width,
                4,
                strides=2,
                padding=1,
                use_bias=not self.batch_norm,  # the norm would take it away
                dtype=self.dtype,
                name=f"conv{i}",
            )
            if self.batch_norm:
                x = BatchNorm(self.dtype, name=f"norm{i}")(x, train)
            x = nn.leaky_relu(x, self.slope)
            levels.append(x)
        # A VALID convolution with a kernel of the size of its input is a dense layer.
        x = x.reshape(x.shape[0], x.shape[1] * x.shape[2] * x.shape[3])
        return torch_dense(x, self.g, dtype=self.dtype, name="to_g"), tuple(levels)


class Decoder(nn.Module):
    """From the code to an image of `features` channels, with additive skips.

    batch_norm: after every convolution but the last; E_glo has none.
    """

    features: int
    widths: tuple[int, ...]
    slope: float
    dtype: Any
    batch_norm: bool = False

    @nn.compact
    def __call__(
        self,
        code: Array,
        levels: tuple[Array, ...],
        skips: Array | None,
        train: bool = False,
    ) -> Features:  # (B, H, W, features)
        """Adds skips[i] * conv1x1(levels[i]) to the activation of level i.

        levels: of the encoder; they give only the size if skips is None.
        train: batch norms take the statistics of the batch.
        """
        x = self._from_code(code, *levels[-1].shape[1:3])
        for i in reversed(range(len(self.widths))):
            if self.batch_norm:
                x = BatchNorm(self.dtype, name=f"norm{i}")(x, train)
            # Addition after the activation: a layer of Fig. 7 contains its activation.
            x = nn.leaky_relu(x, self.slope)
            if skips is not None:
                options = {"use_bias": not self.batch_norm, "dtype": self.dtype}
                width = levels[i].shape[-1]
                skip = torch_conv(levels[i], width, 1, **options, name=f"skip{i}")
                if self.batch_norm:
                    skip = BatchNorm(self.dtype, name=f"skip_norm{i}")(skip, train)
                x = x + skips[i].astype(self.dtype) * skip
            width = self.widths[i - 1] if i else self.features
            name = f"conv{i - 1}" if i else "conv_out"
            biased = not self.batch_norm or i == 0
            x = UpConvolution(width, self.dtype, use_bias=biased, name=name)(x)
        return x

    def _from_code(self, code: Array, height: int, width: int) -> Array:
        """VALID transposed convolution (B, g) -> (B, height, width, widths[-1])."""
        channels = self.widths[-1]
        init = torch_default(height * width * channels)
        x = nn.Dense(
            height * width * channels,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=init,
            name="from_g",
        )(code)
        x = x.reshape(x.shape[0], height, width, channels)
        if self.batch_norm:
            return x
        bias = self.param("from_g_bias", init, (channels,), jnp.float32)
        return x + bias.astype(self.dtype).reshape(1, 1, 1, channels)


class UpConvolution(nn.Module):
    """Transposed convolution of stride 2 that doubles the size: 4x4, padding 1.

    Or 3x3 with padding 1 and output padding 1, which is 4x4 with a last row and column
    of zeros. Each of the four phases of the result is a 2x2 convolution, so one 2x2
    convolution computes them all. XLA's own transposed convolution has a weight
    gradient that is 15 times slower on the CPU; that of an explicitly padded
    convolution is fast.
    Kernel (k, k, in, width), oriented as in PyTorch (Flax's ConvTranspose is flipped).
    """

    width: int
    dtype: Any
    kernel_size: int = 4
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:  # (B, H, W, C) -> (B, 2 H, 2 W, width)
        """Twice the size, `width` channels."""
        batch, height, width, channels = x.shape
        k = self.kernel_size
        init = torch_default(k * k * self.width)
        kernel = self.param("kernel", init, (k, k, channels, self.width), jnp.float32)
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        kernel = jnp.pad(kernel, ((0, 4 - k), (0, 4 - k), (0, 0), (0, 0)))
        # Flipped, position k of an axis is tap k // 2 of phase k % 2.
        kernel = kernel[::-1, ::-1].reshape(2, 2, 2, 2, channels, self.width)
        kernel = kernel.transpose(0, 2, 4, 1, 3, 5)
        # XLA would move the padding into the convolution, whose weight gradient it then
        # takes for one with a kernel of the size of the image: 30 times slower on GPU.
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        y = convolve(
            jax.lax.optimization_barrier(padded),
            kernel.reshape(2, 2, channels, 4 * self.width),
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ).reshape(batch, height + 1, width + 1, 2, 2, self.width)
        rows = [
            jnp.stack([y[:, r : r + height, c : c + width, r, c] for c in (0, 1)], 3)
            for r in (0, 1)
        ]
        y = jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, self.width)
        if not self.use_bias:
            return y
        bias = self.param("bias", init, (self.width,), jnp.float32)
        return y + bias.astype(y.dtype).reshape(1, 1, 1, self.width)
