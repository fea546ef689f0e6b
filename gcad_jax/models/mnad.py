"""MNAD in reconstruction mode (arXiv 2003.13228): encoder, decoder and memory.

The two halves of a U-Net without its skips: features at an eighth of the image's side,
and the way back from features and what the memory returns for them. The memory is an
array of M items of unit length and D numbers; it is updated without a gradient.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gcad_jax.core.axes import max_over_batch, sum_over_batch
from gcad_jax.core.checks import multiple_of
from gcad_jax.core.types import Array, Features, Images, Key
from gcad_jax.models.global_encoder import UpConvolution
from gcad_jax.models.layers.batch_norm import BatchNorm
from gcad_jax.models.layers.init import torch_conv, torch_default

WIDTHS = (64, 128, 256, 512)
SIDE_MULTIPLE = 2 ** (len(WIDTHS) - 1)  # of the sides of an image: a pool each
EPS = 1e-12  # smallest norm that is divided by

# -- networks ---------------------------------------------------------------


class Convolution(nn.Module):
    """3x3, padding 1, then batch norm and ReLU unless it is bare."""

    width: int
    dtype: Any
    bare: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """(B, H, W, C) -> (B, H, W, width)."""
        biased = self.bare  # a norm would take the bias away
        options = {"padding": 1, "use_bias": biased, "dtype": self.dtype}
        x = torch_conv(x, self.width, 3, **options, name="conv")
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
        multiple_of("The image height", x.shape[1], SIDE_MULTIPLE)
        multiple_of("The image width", x.shape[2], SIDE_MULTIPLE)
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


# -- memory -----------------------------------------------------------------


def l2_normalize(x: Array) -> Array:  # (..., D) -> (..., D)
    """Divided by its Euclidean norm; finite, and with a gradient, at zero."""
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squares, EPS**2))


def init_memory(key: Key, items: int, size: int) -> Array:  # (M, D)
    """Random directions with entries of one sign, as published code draws them."""
    signed = torch_default(1)(key, (items, size))  # U(-1, 1)
    return l2_normalize((signed + 1) / 2)


def read_memory(memory: Array, queries: Array) -> Array:  # (M, D), (Q, D) -> (Q, D)
    """Items weighted by their similarity to each query; no gradient flows."""
    weights = jax.nn.softmax(queries @ memory.T, axis=-1)
    return jax.lax.stop_gradient(weights @ memory)


def nearest_two(memory: Array, queries: Array) -> tuple[Array, Array]:
    """The items most similar to each query, and the second: (Q, D) each."""
    _, items = jax.lax.top_k(queries @ memory.T, 2)
    first, second = memory[items[:, 0]], memory[items[:, 1]]
    return jax.lax.stop_gradient((first, second))


def update_memory(memory: Array, queries: Array) -> Array:  # (M, D), (Q, D) -> (M, D)
    """Each item moved to the queries that it is the nearest item of.

    m_i <- unit(m_i + sum of v_qi q over those queries), v_qi = exp(s_qi - max_q s_qi)
    with the similarities s of all queries of the batch, on all devices: the softmax
    over queries, divided by its maximum. An item without queries stays. Needs the
    axis `BATCH`; no gradient flows.
    """
    queries = jax.lax.stop_gradient(queries)
    similarity = queries @ memory.T  # (Q, M)
    is_nearest = (
        jnp.argmax(similarity, axis=1)[:, None] == jnp.arange(len(memory))[None]
    )
    largest = max_over_batch(jnp.max(similarity, axis=0))
    weights = jnp.where(is_nearest, jnp.exp(similarity - largest[None]), 0.0)
    moved = l2_normalize(memory + sum_over_batch(weights.T @ queries))
    used = sum_over_batch(jnp.sum(is_nearest, axis=0)) > 0
    return jnp.where(used[:, None], moved, memory)
