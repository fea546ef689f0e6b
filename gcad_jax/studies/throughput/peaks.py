"""The rates that this device reaches on one large operation, measured."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gcad_jax.core.types import Array
from gcad_jax.data.image_size import network_size
from gcad_jax.methods.base import Method, wanted_size
from gcad_jax.training.cost.timing import time_calls

MATRIX = {"cpu": 2048}  # rows and columns; 8192 on accelerators
REPEATS = 3


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Floating-point operations a second, of random numbers.

    product: of a square matrix product, in `dtype`; what MFU is a share of.
    product_float32: the same in float32 as JAX does it by default (TF32 on some GPUs).
    convolution: 3 x 3, with as many channels in as out, on a batch of images.
    size: rows of the matrices. shape: (B, h, w, C) of the convolution.
    """

    dtype: str
    size: int
    product: float
    product_float32: float
    shape: tuple[int, int, int, int]
    convolution: float

    def shares(self, rate: float, flops: float | None) -> dict[str, Any]:
        """The fields of a `Computation` at `rate` images a second of `flops` each."""
        return {
            "flops_traced": flops,
            "mfu": rate * flops / self.product if flops else None,
            "of_convolution": rate * flops / self.convolution if flops else None,
        }


def measure_peaks(method: Method) -> Peaks:
    """Of the default device, with a convolution as wide as a U-Net's first level.

    Images have the method's size; a square where it is only the shorter side's.
    """
    batch_size = getattr(method, "batch_size", method.inference_batch_size)
    channels = max(4, round(64 * getattr(method, "width", 1.0)))
    platform = jax.local_devices()[0].platform
    size = MATRIX.get(platform, 8192)
    dtype = jnp.float32 if platform == "cpu" else jnp.bfloat16
    height, width = network_size(wanted_size(method), [(1, 1)])
    shape = (batch_size, height, width, channels)
    return Peaks(
        dtype=jnp.dtype(dtype).name,
        size=size,
        product=_product(size, dtype),
        product_float32=_product(size, jnp.float32),
        shape=shape,
        convolution=_convolution(shape, dtype),
    )


def _product(size: int, dtype: jnp.dtype) -> float:
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
    return 2 * size**3 / _seconds(lambda x: x @ x, matrix)


def _convolution(shape: tuple[int, int, int, int], dtype: jnp.dtype) -> float:
    channels = shape[-1]
    images = jax.random.normal(jax.random.key(0), shape, dtype)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, channels, channels), dtype)

    def convolve(images: Array, kernel: Array) -> Array:
        layouts = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=layouts
        )

    pixels = shape[0] * shape[1] * shape[2]
    return 18 * pixels * channels**2 / _seconds(convolve, images, kernel)


def _seconds(function: Callable[..., Array], *inputs: Array) -> float:
    """Of one call; the median of some runs of as many calls as take a while."""
    compiled = jax.jit(function).lower(*inputs).compile()
    call = functools.partial(compiled, *inputs)
    time_calls(call, 1)  # loads the program
    calls = max(1, min(50, round(0.05 / time_calls(call, 1))))
    return time_calls(call, calls, REPEATS)
