"""ResNet-18 and Wide ResNet-50-2 (arXiv 1512.03385, 1605.07146), frozen.

Batch norms are folded into the convolutions when weights are converted: the networks
are never trained here, and then hold nothing but kernels and biases. Input is
ImageNet-normalized RGB; paddings are PyTorch's, as in the published weights.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp

from gcad_jax.core.types import Array, Images

NUM_CLASSES = 1000


class ResNet(nn.Module):
    """Layers carry PyTorch's names: conv1, layer1.0.conv1, ..., fc.

    Attributes:
      blocks: how many make up layer1, ..., layer4.
      bottleneck: 1x1, 3x3, 1x1 convolutions a block, the last 4 times as wide as a
        plain block; otherwise two 3x3.
      inner: factor on the width of a bottleneck's first two convolutions.
    """

    blocks: tuple[int, ...]
    bottleneck: bool = False
    inner: int = 1

    @nn.compact
    def __call__(self, images: Images, until: str = "logits") -> Mapping[str, Array]:
        """Feature maps and logits of normalized (B, H, W, 3) of any size.

        Returns 'layer1' ... 'layer4', (B, h, w, C) with h = H/4 ... H/32 rounded up;
        'pooled' (B, C), the mean of the last; 'logits' (B, 1000): in this order, and
        none behind `until`.
        """
        features = {}
        x = nn.relu(self._conv(images, 64, 7, "conv1", 2))
        # Padded with -inf, so that the border never wins.
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for i, blocks in enumerate(self.blocks):
            for j in range(blocks):
                stride = 2 if i and not j else 1
                x = self._block(x, 64 * 2**i, stride, f"layer{i + 1}.{j}")
            features[f"layer{i + 1}"] = x
            if until == f"layer{i + 1}":
                return features
        features["pooled"] = jnp.mean(x, axis=(1, 2))
        if until == "logits":
            features["logits"] = nn.Dense(NUM_CLASSES, name="fc")(features["pooled"])
        return features

    def _block(self, x: Array, width: int, stride: int, name: str) -> Array:
        if self.bottleneck:
            y = nn.relu(self._conv(x, self.inner * width, 1, f"{name}.conv1"))
            # The stride is the 3x3's, as in PyTorch; in the paper it is the 1x1's.
            y = nn.relu(self._conv(y, y.shape[-1], 3, f"{name}.conv2", stride))
            y = self._conv(y, 4 * width, 1, f"{name}.conv3")
        else:
            y = nn.relu(self._conv(x, width, 3, f"{name}.conv1", stride))
            y = self._conv(y, width, 3, f"{name}.conv2")
        if stride > 1 or x.shape[-1] != y.shape[-1]:
            x = self._conv(x, y.shape[-1], 1, f"{name}.downsample", stride)
        return nn.relu(x + y)

    def _conv(
        self, x: Array, width: int, kernel: int, name: str, stride: int = 1
    ) -> Array:
        # Not 'SAME', which at stride 2 pads even sizes only at their end.
        sides = (kernel // 2, kernel // 2)
        window, strides = (kernel, kernel), (stride, stride)
        return nn.Conv(width, window, strides, padding=(sides, sides), name=name)(x)


RESNET18 = ResNet((2, 2, 2, 2))  # maps of 64, 128, 256, 512 channels
WIDE_RESNET50_2 = ResNet((3, 4, 6, 3), bottleneck=True, inner=2)  # of 256 ... 2048
