"""Layers in NumPy, written from their definitions: the oracle of the network tests."""

import numpy as np


def conv(x, kernel, bias, stride=1, pad=0):
    """x (B, H, W, I), kernel (k, k, I, O): the sum over every window."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))
    windows = windows[:, ::stride, ::stride]  # (B, H', W', I, k, k)
    return np.einsum("bhwirc,rcio->bhwo", windows, kernel) + bias


def transposed_conv(x, kernel, bias, stride, pad):
    """PyTorch's: each input pixel adds its multiple of the kernel; pad is cut off."""
    batch, height, width, _ = x.shape
    k = kernel.shape[0]
    out = np.zeros(
        (batch, (height - 1) * stride + k, (width - 1) * stride + k, kernel.shape[-1])
    )
    for r in range(height):
        for c in range(width):
            rows, columns = r * stride, c * stride
            out[:, rows : rows + k, columns : columns + k] += np.einsum(
                "bi,rcio->brco", x[:, r, c], kernel
            )
    return out[:, pad : out.shape[1] - pad, pad : out.shape[2] - pad] + bias


def max_pool(x):
    """2x2, stride 2; a last odd row or column is dropped."""
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :height, :width]
    return np.max(
        [x[:, r::2, c::2] for r in (0, 1) for c in (0, 1)],
        axis=0,
    )


def mean_pool(x):
    """2x2, stride 2; sides are even."""
    return np.mean([x[:, r::2, c::2] for r in (0, 1) for c in (0, 1)], axis=0)


def leaky_relu(x, slope):
    return np.where(x > 0, x, slope * x)
