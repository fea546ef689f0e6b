"""MobileNetV2 1.0 (arXiv 1801.04381), frozen: batch norms folded into biases.

Paddings are TensorFlow's 'SAME', which at stride 2 depend on the size of the image, as
in the published weights; the input is RGB in [-1, 1].
"""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gcad_jax.core.types import Array, Images

NUM_FEATURES = 1280
NUM_CLASSES = 1001  # 0 is the background
FIRST_WIDTH = 32


class Stage(NamedTuple):
    """Blocks in a row: expansion, output width, how many, stride of the first."""

    expansion: int
    width: int
    blocks: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


class Depthwise(nn.Module):
    """3x3 convolution of each channel by itself, as nine shifted products.

    XLA on CPU fuses them into one loop, 7 to 11 times faster than its convolution.
    """

    stride: int

    @nn.compact
    def __call__(self, x: Array) -> Array:  # (B, H, W, C) -> (B, h, w, C)
        """Padded as TensorFlow's 'SAME'."""
        width, step = x.shape[-1], self.stride
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, 1, width))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        sides, spans = [], []
        for length in x.shape[1:3]:
            span = (-(-length // step) - 1) * step + 1
            missing = max(span + 2 - length, 0)
            sides.append((missing // 2, missing - missing // 2))
            spans.append(span)
        x = jnp.pad(x, ((0, 0), *sides, (0, 0)))
        terms = [
            x[:, i : i + spans[0] : step, j : j + spans[1] : step]
            * kernel[i, j, 0][None, None, None]
            for i in range(3)
            for j in range(3)
        ]
        return sum(terms[1:], terms[0]) + bias[None, None, None]


class MobileNetV2(nn.Module):
    """The network up to its classes; parameters carry the names of `layer_names`."""

    @nn.compact
    def __call__(self, images: Images) -> Mapping[str, Array]:
        """Feature maps and logits of (B, H, W, 3) in [-1, 1].

        Returns 'stage1' ... 'stage7', each (B, h, w, width); 'last' (B, h, w, 1280);
        'pooled' (B, 1280), its mean; 'logits' (B, 1001).
        """

        def conv(x: Array, width: int, kernel: int, stride: int, name: str) -> Array:
            window, strides = (kernel, kernel), (stride, stride)
            return nn.Conv(width, window, strides, padding="SAME", name=name)(x)

        features = {}
        x = jax.nn.relu6(conv(images, FIRST_WIDTH, 3, 2, "first"))
        for s, stage in enumerate(STAGES, start=1):
            for b in range(1, stage.blocks + 1):
                stride, block = stage.stride if b == 1 else 1, f"stage{s}_block{b}"
                y = x
                if stage.expansion > 1:
                    wide = stage.expansion * x.shape[-1]
                    y = jax.nn.relu6(conv(y, wide, 1, 1, f"{block}_expand"))
                y = jax.nn.relu6(Depthwise(stride, name=f"{block}_depthwise")(y))
                y = conv(y, stage.width, 1, 1, f"{block}_project")
                x = x + y if x.shape == y.shape else y
            features[f"stage{s}"] = x
        features["last"] = jax.nn.relu6(conv(x, NUM_FEATURES, 1, 1, "last"))
        features["pooled"] = jnp.mean(features["last"], axis=(1, 2))
        features["logits"] = nn.Dense(NUM_CLASSES, name="logits")(features["pooled"])
        return features


def layer_names() -> tuple[str, ...]:
    """Names of the layers with weights, in the order of the computation."""
    names = ["first"]
    for s, stage in enumerate(STAGES, start=1):
        for b in range(1, stage.blocks + 1):
            parts = ("expand",) if stage.expansion > 1 else ()
            names += [
                f"stage{s}_block{b}_{part}" for part in (*parts, "depthwise", "project")
            ]
    return (*names, "last", "logits")
