"""Initial weights, scaled widths and normalized inputs, shared by all networks."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from gcad_jax.core.types import Array, Images, Key
from gcad_jax.models.layers.convolution import convolve

# Per channel, RGB in [0, 1]: torchvision's statistics of the ImageNet training set.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

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
    return uniform(fan_in**-0.5)


def torch_conv(x: Array, width: int, size: int, **options: Any) -> Array:
    """A square convolution of (B, H, W, C) with PyTorch's default initial weights.

    width: channels of the result. size: of the kernel, in pixels. options: of
    `nn.Conv`. A layer of the module in whose `nn.compact` method it is called.
    """
    init = torch_default(size * size * x.shape[-1])
    options = {"conv_general_dilated": convolve, **options}
    return nn.Conv(width, (size, size), kernel_init=init, bias_init=init, **options)(x)


def torch_dense(x: Array, width: int, **options: Any) -> Array:
    """The same of a linear layer on the last axis; options: of `nn.Dense`."""
    init = torch_default(x.shape[-1])
    return nn.Dense(width, kernel_init=init, bias_init=init, **options)(x)


@functools.cache
def uniform(bound: float) -> Initializer:
    """U(-bound, bound); the deviation is bound / sqrt(3)."""
    return _initializer(lambda signed: bound * signed)


@functools.cache
def he_normal(slope: float) -> Initializer:
    """He's normal initializer for kernels (..., in, out) before a leaky ReLU.

    `variance_scaling(2 / (1 + slope^2), 'fan_in', 'normal')`: features keep their
    variance through the layers.
    """

    def normal(signed: Array) -> Array:
        std = math.sqrt(2 / (1 + slope**2) / math.prod(signed.shape[:-1]))
        return std * (jax.lax.erf_inv(signed) * math.sqrt(2))

    return _initializer(normal)


def _initializer(of_signed: Callable[[Array], Array]) -> Initializer:
    """of_signed: values of U(-1, 1) -> those of the parameter, float32.

    Flax asks an initializer for its shape at every parameter of every call of a
    network. Under jit, and with the initializers above kept, the answer is there.
    """

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def draw(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        return of_signed(2 * _uniform(key, shape) - 1).astype(dtype)

    def init(
        key: Key, shape: Sequence[Any], dtype: Any = None, out_sharding: Any = None
    ) -> Array:
        del out_sharding  # part of the type; parameters are placed by the trainer
        return draw(key, tuple(shape), jnp.dtype(dtype or jnp.float32))

    return init


def _uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """U(0, 1) in steps of 2^-23: a hash of the key and of each element's index.

    `jax.random.uniform` takes XLA 0.35 s to compile for every parameter (Threefry, on
    the CPU), which adds up to minutes for the networks of GCAD; this takes 0.04 s. It
    is the same under jit and vmap and on every backend.
    """
    bits = jax.lax.iota(jnp.uint32, math.prod(shape))
    for word in jax.random.key_data(key):
        # Wellons' integer hash "lowbias32": every input bit flips half the outputs.
        bits = bits ^ word
        bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
        bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
        bits = bits ^ (bits >> 16)
    # The middle of each step: neither 0 nor 1, whose normal quantile is infinite.
    return ((bits >> 9).astype(jnp.float32) + 0.5).reshape(shape) * 2.0**-23


def imagenet_normalized(images: Images) -> Array:
    """(B, H, W, 3) in [0, 1] -> mean 0 and deviation 1 over ImageNet, per channel."""
    mean = jnp.asarray(IMAGENET_MEAN, images.dtype).reshape(1, 1, 1, 3)
    std = jnp.asarray(IMAGENET_STD, images.dtype).reshape(1, 1, 1, 3)
    return (images - mean) / std
