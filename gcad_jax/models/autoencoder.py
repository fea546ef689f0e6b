"""The autoencoders of the paper: E_glo's network that returns the image [P 5.2]."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gcad_jax.core.types import Array, Images
from gcad_jax.models.global_encoder import Decoder, Encoder


class Autoencoder(nn.Module):
    """An image through a code of g numbers; initialize with `skips` = ones.

    As E_glo, with batch norms after every convolution and transposed convolution but
    the last of each half, those of the skips among them.

    Attributes:
      g: dimension of the code.
      widths: channels after each of the five convolutions, upper level first.
      slope: of the leaky ReLU.
      variational: the code is a distribution: its layer is there twice.
      channels: of the image.
      dtype: of the computation; parameters are float32.
    """

    g: int = 32
    widths: tuple[int, ...] = (32, 32, 64, 64, 128)
    slope: float = 5e-3
    variational: bool = False
    channels: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: Images,  # (B, H, W, C)
        skips: Array | None,  # (5,)
        noise: Array | None = None,  # (B, g)
        train: bool = False,
    ) -> tuple[Images, Array, Array | None]:  # (B, H, W, C), (B, g), (B, g)
        """The reconstruction, the code, and where variational its log variance.

        Args:
          images: H and W multiples of 32; the parameters belong to one size.
          skips: weights of the skips; None leaves them out of the graph.
          noise: standard normal; decoded is mean + deviation * noise. None decodes
            the mean.
          train: batch norms take the statistics of the batch.

        Raises:
          UserError: if H or W is no multiple of 32.
        """
        norms = {"batch_norm": True, "dtype": self.dtype}
        size = 2 * self.g if self.variational else self.g
        encoder = Encoder(size, self.widths, self.slope, name="encoder", **norms)
        decoder = Decoder(
            self.channels, self.widths, self.slope, name="decoder", **norms
        )
        code, levels = encoder(images, train)
        log_variance = None
        if self.variational:
            code, log_variance = code[:, : self.g], code[:, self.g :]
        sample = code
        if noise is not None and log_variance is not None:
            sample = code + jnp.exp(log_variance / 2) * noise
        return decoder(sample, levels, skips, train), code, log_variance
