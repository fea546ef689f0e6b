"""MobileNetV2 1.0 (arXiv 1801.04381), frozen: batch norms folded into biases.

Paddings are TensorFlow's 'SAME', which at stride 2 depend on the size of the image, as
in the published weights; the input is RGB in [-1, 1].
"""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gcad_jax.types import Array, Images

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

        def depthwise(x: Array, stride: int, name: str) -> Array:
            width = x.shape[-1]
            return nn.Conv(
                width,
                (3, 3),
                (stride, stride),
                padding="SAME",
                feature_group_count=width,
                name=name,
            )(x)

        features = {}
        x = jax.nn.relu6(conv(images, FIRST_WIDTH, 3, 2, "first"))
        for s, stage in enumerate(STAGES, start=1):
            for b in range(1, stage.blocks + 1):
                stride, block = stage.stride if b == 1 else 1, f"stage{s}_block{b}"
                y = x
                if stage.expansion > 1:
                    wide = stage.expansion * x.shape[-1]
                    y = jax.nn.relu6(conv(y, wide, 1, 1, f"{block}_expand"))
                y = jax.nn.relu6(depthwise(y, stride, f"{block}_depthwise"))
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
