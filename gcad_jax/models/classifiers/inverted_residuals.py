"""Networks of inverted residual blocks (arXiv 1801.04381), frozen.

MobileNetV2 and EfficientNet-Lite0 are two tables of stages. Batch norms are folded into
the convolutions when weights are read: what is left is kernels and biases.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gcad_jax.core.types import Array, Images
from gcad_jax.models.layers.convolution import LAYOUT, is_plain

FIRST_WIDTH = 32
NUM_FEATURES = 1280


class Stage(NamedTuple):
    """Blocks in a row: expansion, output width, how many, stride of the first."""

    expansion: int
    width: int
    blocks: int
    stride: int
    kernel: int = 3  # side of the depthwise convolutions


def paddings(
    size: tuple[int, ...], kernel: int, stride: int, same: bool
) -> tuple[tuple[int, int], ...]:
    """Zeros before and after rows and columns of a map.

    size: of the map, (rows, columns). same: TensorFlow's 'SAME', which at stride 2 puts
      the odd zero behind; otherwise PyTorch's, half a kernel on both sides.
    """
    if not same:
        return ((kernel // 2, kernel // 2),) * len(size)
    missing = [
        max((-(-length // stride) - 1) * stride + kernel - length, 0) for length in size
    ]
    return tuple((total // 2, total - total // 2) for total in missing)


class Depthwise(nn.Module):
    """Convolution of each channel by itself, as a sum of shifted products.

    XLA on CPU fuses them into one loop, 6 to 11 times faster than its convolution.
    """

    kernel: int
    stride: int
    same: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:  # (B, H, W, C) -> (B, h, w, C)
        """Padded by `paddings`."""
        channels, side, step = x.shape[-1], self.kernel, self.stride
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (side, side, 1, channels)
        )
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        rows, columns = paddings(x.shape[1:3], side, step, self.same)
        if is_plain():
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                (step, step),
                (rows, columns),
                dimension_numbers=LAYOUT,
                feature_group_count=channels,
            )
            return y + bias[None, None, None]
        x = jnp.pad(x, ((0, 0), rows, columns, (0, 0)))
        last_row, last_column = (length - side + 1 for length in x.shape[1:3])
        # lax.slice: indexing takes JAX ten times as long to trace.
        terms = [
            jax.lax.slice(
                x,
                (0, i, j, 0),
                (x.shape[0], i + last_row, j + last_column, channels),
                (1, step, step, 1),
            )
            * jax.lax.slice(kernel, (i, j, 0, 0), (i + 1, j + 1, 1, channels))
            for i in range(side)
            for j in range(side)
        ]
        return sum(terms[1:], terms[0]) + bias[None, None, None]


class InvertedResiduals(nn.Module):
    """The network up to its classes; parameters carry the names of `layer_names`.

    Attributes:
      stages: the blocks, in the order of the computation.
      num_classes: of 'logits'.
      same: paddings are TensorFlow's; otherwise PyTorch's. They are part of what the
        weights were trained with.
    """

    stages: tuple[Stage, ...]
    num_classes: int
    same: bool = True

    @nn.compact
    def __call__(self, images: Images, until: str = "logits") -> Mapping[str, Array]:
        """Feature maps and logits of normalized (B, H, W, 3).

        Returns 'stage1' ... 'stage7', each (B, h, w, width); 'last' (B, h, w, 1280);
        'pooled' (B, 1280), its mean; 'logits' (B, classes): in this order, and none
        behind `until`.
        """
        features: dict[str, Array] = {}
        x = jax.nn.relu6(self._conv(images, FIRST_WIDTH, "first", kernel=3, stride=2))
        for s, stage in enumerate(self.stages, start=1):
            for b in range(1, stage.blocks + 1):
                x = self._block(x, stage, stage.stride if b == 1 else 1, block(s, b))
            features[f"stage{s}"] = x
            if until == f"stage{s}":
                return features
        # 'last' and 'pooled' come together: the mean costs nothing.
        features["last"] = jax.nn.relu6(self._conv(x, NUM_FEATURES, "last"))
        features["pooled"] = jnp.mean(features["last"], axis=(1, 2))
        if until == "logits":
            logits = nn.Dense(self.num_classes, name="logits")(features["pooled"])
            features["logits"] = logits
        return features

    def _block(self, x: Array, stage: Stage, stride: int, name: str) -> Array:
        y = x
        if stage.expansion > 1:
            wide = stage.expansion * x.shape[-1]
            y = jax.nn.relu6(self._conv(y, wide, f"{name}_expand"))
        depthwise = Depthwise(stage.kernel, stride, self.same, name=f"{name}_depthwise")
        y = self._conv(jax.nn.relu6(depthwise(y)), stage.width, f"{name}_project")
        return x + y if x.shape == y.shape else y

    def _conv(
        self, x: Array, width: int, name: str, kernel: int = 1, stride: int = 1
    ) -> Array:
        window, strides = (kernel, kernel), (stride, stride)
        sides = paddings(x.shape[1:3], kernel, stride, self.same)
        return nn.Conv(width, window, strides, padding=sides, name=name)(x)


def block(stage: int, number: int) -> str:
    """The name of a block, both counted from 1; its layers' names begin with it."""
    return f"stage{stage}_block{number}"


def layer_names(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Names of the layers with weights, in the order of the computation."""

    def of_blocks() -> Iterator[str]:
        for s, stage in enumerate(stages, start=1):
            for b in range(1, stage.blocks + 1):
                parts = ("expand",) if stage.expansion > 1 else ()
                for part in (*parts, "depthwise", "project"):
                    yield f"{block(s, b)}_{part}"

    return ("first", *of_blocks(), "last", "logits")
