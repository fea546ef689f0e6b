"""Convolutions in the form that the device computes fast; `nn.Conv` takes them.

XLA on CPU computes the same convolution several times faster or slower by how it is
written. The forms give the same numbers within rounding; docs/results/cpu_forms.md has
what was tried and measured.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gcad_jax.core.types import Array

LAYOUT = ("NHWC", "HWIO", "NHWC")
NHWC = jax.lax.conv_dimension_numbers((1,) * 4, (1,) * 4, LAYOUT)
NO_PADDING = ((0, 0), (0, 0))
Padding = tuple[tuple[int, int], tuple[int, int]]
# From so many channels on both sides the gradient of a kernel is products of matrices.
MANY_CHANNELS = 64
_plain = contextvars.ContextVar("plain_convolutions", default=False)


@contextlib.contextmanager
def plain_convolutions() -> Iterator[None]:
    """Within it every convolution is traced as XLA's own, for programs of others."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Whether `plain_convolutions` surrounds the call."""
    return _plain.get()


def convolve(
    x: Array,  # (B, H, W, C)
    kernel: Array,  # (k, l, C, D)
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: Any,
) -> Array:  # (B, h, w, D)
    """`jax.lax.conv_general_dilated`, for `nn.Conv(conv_general_dilated=convolve)`.

    options: of that function, which everything is given to as it is where the default
        backend is no CPU, or where they ask for more than a convolution of stride 1 or
        2 (groups, dilations, another layout, precision or type of the result).
    """
    options = {"dimension_numbers": LAYOUT, **options}
    sides = _sides(padding)
    if sides is None or not _is_for_cpu(x, kernel, options):
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if tuple(strides) == (2, 2) and _is_worth_stacking(x, kernel, sides):
        return convolve(*_stacked(_padded(x, sides), kernel), (1, 1), "VALID")
    if tuple(strides) != (1, 1):
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if kernel.shape[:2] == (1, 1) and sides == NO_PADDING:
        return x @ kernel[0, 0]
    if _is_larger_than_images(kernel, x):
        return _product_of_windows(x, kernel, sides)
    if sides == NO_PADDING:
        # With a row of padding XLA takes another way, up to six times as fast.
        return convolve(x, kernel, strides, ((0, 1), (0, 0)), **options)[:, :-1]
    if min(kernel.shape[2:]) < MANY_CHANNELS:
        return _convolution(x, kernel, sides)
    return _with_product_gradient(x, kernel, sides)


def _is_for_cpu(x: Array, kernel: Array, options: dict[str, Any]) -> bool:
    if _plain.get() or jax.default_backend() != "cpu":
        return False
    asked = {name: value for name, value in options.items() if value is not None}
    layout = jax.lax.conv_dimension_numbers(
        x.shape, kernel.shape, asked.pop("dimension_numbers")
    )
    steps = (*asked.pop("lhs_dilation", ()), *asked.pop("rhs_dilation", ()))
    groups = asked.pop("feature_group_count", 1)
    return layout == NHWC and groups == 1 and set(steps) <= {1} and not asked


def _is_worth_stacking(x: Array, kernel: Array, sides: Padding) -> bool:
    """Whether a stride of 2 is computed as a stride of 1 over squares of 2 x 2 pixels.

    Its gradients are faster then, above all where the kernel is larger than the images.
    """
    padded = [side + sum(pair) for side, pair in zip(x.shape[1:3], sides, strict=True)]
    even = all(side % 2 == 0 for side in (*padded, *kernel.shape[:2]))
    return even and min(kernel.shape[2:]) >= MANY_CHANNELS


def _stacked(x: Array, kernel: Array) -> tuple[Array, Array]:
    """Squares of four pixels (B, H/2, W/2, 4 C) and their kernel (k/2, l/2, 4 C, D)."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    rows, columns, _, features = kernel.shape
    kernel = kernel.reshape(rows // 2, 2, columns // 2, 2, channels, features)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
    return (
        x.reshape(batch, height // 2, width // 2, 4 * channels),
        kernel.reshape(rows // 2, columns // 2, 4 * channels, features),
    )


def _is_larger_than_images(kernel: Array, x: Array) -> bool:
    *places, channels = x.shape
    # An exported program has a symbol for the batch, which nothing can be told of.
    if not all(isinstance(side, int) for side in places):
        return False
    return bool(kernel.size > math.prod(places) * (channels + kernel.shape[3]))


def _sides(padding: str | Sequence[tuple[int, int]]) -> Padding | None:
    """Zeros before and after rows and columns; None for another word than "VALID"."""
    if isinstance(padding, str):
        return NO_PADDING if padding == "VALID" else None
    (top, bottom), (left, right) = padding
    return (top, bottom), (left, right)


def _convolution(x: Array, kernel: Array, sides: Padding) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), sides, dimension_numbers=LAYOUT
    )


def _padded(x: Array, sides: Padding) -> Array:
    return jnp.pad(x, ((0, 0), *sides, (0, 0)))


def _product_of_windows(x: Array, kernel: Array, sides: Padding) -> Array:
    """One product of matrices, (B h w, k l C) times (k l C, D).

    For kernels that are larger than the images: none of the three products of a
    training turns the kernel round, which takes XLA longer than the convolution.
    """
    rows, columns, _, features = kernel.shape
    x = _padded(x, sides)
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    windows = [
        x[:, i : i + height, j : j + width] for i in range(rows) for j in range(columns)
    ]
    return jnp.concatenate(windows, -1) @ kernel.reshape(-1, features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _with_product_gradient(x: Array, kernel: Array, sides: Padding) -> Array:
    """The convolution, whose gradient by the kernel is written as products."""
    return _convolution(x, kernel, sides)


def _forward(
    x: Array, kernel: Array, sides: Padding
) -> tuple[Array, tuple[Array, Array]]:
    return _convolution(x, kernel, sides), (x, kernel)


def _backward(
    sides: Padding, inputs: tuple[Array, Array], change: Array
) -> tuple[Array, Array]:
    x, kernel = inputs
    of_x = jax.linear_transpose(lambda x: _convolution(x, kernel, sides), x)
    return *of_x(change), _kernel_gradient(_padded(x, sides), kernel.shape, change)


def _kernel_gradient(
    x: Array,  # (B, H, W, C), padded
    shape: tuple[int, ...],  # of the kernel
    change: Array,  # (B, h, w, D)
) -> Array:  # (k, l, C, D)
    """For each row of the kernel (C, B h W) times (B h W, l D)."""
    rows, columns, channels, features = shape
    height, width = change.shape[1], x.shape[2]
    change = _padded(change, ((0, 0), (columns - 1, columns - 1)))
    windows = jnp.concatenate(
        [change[:, :, j : j + width] for j in reversed(range(columns))], axis=-1
    ).reshape(-1, columns * features)
    products = [
        x[:, i : i + height].reshape(-1, channels).T @ windows for i in range(rows)
    ]
    gradient = jnp.stack(products).reshape(rows, channels, columns, features)
    return gradient.transpose(0, 2, 1, 3)


_with_product_gradient.defvjp(_forward, _backward)
