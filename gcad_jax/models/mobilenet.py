"""MobileNetV2 1.0 with frozen weights: a classifier whose features are distilled.

Sandler et al. (arXiv 1801.04381), Table 2, as TensorFlow runs it: 'SAME' padding,
ReLU6, 1001 classes of which 0 is the background. Batch normalisation is folded into
the convolutions.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from gcad_jax.types import Array

# Expansion, width, number of blocks, stride of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM = 32
HEAD = 1280
CLASSES = 1001


class Block(NamedTuple):
    """An inverted residual block; `name` begins the names of its convolutions."""

    name: str
    expanded: int  # channels of the depthwise convolution; 0: those of the input
    width: int
    stride: int  # of the depthwise convolution
    residual: bool  # the input is added to the output


def blocks() -> tuple[Block, ...]:
    """All blocks, in order."""
    made: list[Block] = []
    inputs = STEM
    for expansion, width, repeats, stride in STAGES:
        for i in range(repeats):
            made.append(
                Block(
                    name=f"block{len(made) + 1}",
                    expanded=inputs * expansion if expansion > 1 else 0,
                    width=width,
                    stride=1 if i else stride,
                    residual=i > 0,
                )
            )
            inputs = width
    return tuple(made)


class MobileNetV2(nn.Module):
    """Parameters: conv1, block1_depthwise, block1_project, block2_expand, ...

    Attributes:
      dtype: of the computation and of the results; parameters are float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Mapping[str, Array]:
        """Images (B, H, W, 3), RGB in [-1, 1] of any size, to

        'stride2', 'stride4', ..., 'stride32': the last block of each stride,
        (B, H/2, W/2, 16), then 24, 32, 96 and 320 channels, sizes rounded up;
        'pooled' (B, 1280): the mean over the pixels of the last convolution;
        'logits' (B, 1001).
        """
        results: dict[str, Array] = {}
        x = nn.relu6(self._conv(images, STEM, 3, "conv1", stride=2))
        stride = 2
        for block in blocks():
            stride *= block.stride
            # Overwritten by each later block of the same stride.
            x = results[f"stride{stride}"] = self._block(x, block)
        x = nn.relu6(self._conv(x, HEAD, 1, "conv_last"))
        x = results["pooled"] = x.mean(axis=(1, 2))
        results["logits"] = nn.Dense(CLASSES, dtype=self.dtype, name="logits")(x)
        return results

    def _block(self, x: Array, block: Block) -> Array:
        y = x
        if block.expanded:
            y = nn.relu6(self._conv(y, block.expanded, 1, f"{block.name}_expand"))
        y = self._conv(
            y,
            y.shape[-1],
            3,
            f"{block.name}_depthwise",
            stride=block.stride,
            groups=y.shape[-1],
        )
        y = self._conv(nn.relu6(y), block.width, 1, f"{block.name}_project")
        return x + y if block.residual else y

    def _conv(
        self,
        x: Array,
        width: int,
        kernel: int,
        name: str,
        stride: int = 1,
        groups: int = 1,
    ) -> Array:
        return nn.Conv(
            width,
            (kernel, kernel),
            strides=stride,
            padding="SAME",  # TensorFlow's: (0, 1) before a stride on even sides
            feature_group_count=groups,
            dtype=self.dtype,
            name=name,
        )(x)
