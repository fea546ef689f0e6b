"""ResNet-18 and Wide ResNet-50-2 with frozen weights, as torchvision defines them.

He et al. (arXiv 1512.03385) and Zagoruyko and Komodakis (arXiv 1605.07146). They are
never trained here, so each batch normalisation is folded into the convolution before
it when weights are converted (`conversion.py`): a network is a tree of 'params' alone,
like E_loc and MobileNetV2, and runs without the extra passes.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gcad_jax.types import Array

Sides = tuple[tuple[int, int], tuple[int, int]]


class ResNet(nn.Module):
    """Parameters have torchvision's names: conv1, layer1.0.conv1, ..., fc.

    Attributes:
      depths: blocks of layer1 to layer4.
      bottleneck: blocks of a 1x1, a 3x3 and a 1x1 convolution, with 4 times the
        width at their end, instead of two 3x3.
      inner: factor on the width within a bottleneck (2: the wide network).
      width: of layer1; doubled by each further layer.
      classes: outputs of fc.
      dtype: of the computation and of the results; parameters are float32.
    """

    depths: tuple[int, ...]
    bottleneck: bool = False
    inner: int = 1
    width: int = 64
    classes: int = 1000
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Mapping[str, Array]:
        """ImageNet-normalised RGB images (B, H, W, 3) of any size to

        'layer1', ..., 'layer4': (B, H/4, W/4, C) to (B, H/32, W/32, 8 C), sizes
        rounded up, C = width or, with bottlenecks, 4 width;
        'pooled' (B, 8 C): the mean over the pixels of layer4, the input of fc;
        'logits' (B, classes).
        """
        results: dict[str, Array] = {}
        x = nn.relu(self._conv(images, self.width, 7, "conv1", stride=2))
        # Padded with -inf, so that the border never wins.
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=_sides(3))
        for i, depth in enumerate(self.depths, start=1):
            for j in range(depth):
                stride = 2 if i > 1 and j == 0 else 1
                x = self._block(x, self.width * 2 ** (i - 1), stride, f"layer{i}.{j}")
            results[f"layer{i}"] = x
        x = results["pooled"] = x.mean(axis=(1, 2))
        results["logits"] = nn.Dense(self.classes, dtype=self.dtype, name="fc")(x)
        return results

    def _block(self, x: Array, width: int, stride: int, name: str) -> Array:
        outputs = 4 * width if self.bottleneck else width
        if self.bottleneck:
            inner = self.inner * width
            y = nn.relu(self._conv(x, inner, 1, f"{name}.conv1"))
            # torchvision strides here; the original paper in the 1x1 before.
            y = nn.relu(self._conv(y, inner, 3, f"{name}.conv2", stride))
            y = self._conv(y, outputs, 1, f"{name}.conv3")
        else:
            y = nn.relu(self._conv(x, width, 3, f"{name}.conv1", stride))
            y = self._conv(y, width, 3, f"{name}.conv2")
        if stride > 1 or x.shape[-1] != outputs:
            x = self._conv(x, outputs, 1, f"{name}.downsample", stride)
        return nn.relu(x + y)

    def _conv(
        self, x: Array, width: int, kernel: int, name: str, stride: int = 1
    ) -> Array:
        return nn.Conv(
            width,
            (kernel, kernel),
            strides=stride,
            # Not 'SAME', which pads (0, 1) before a stride on even sides.
            padding=_sides(kernel),
            dtype=self.dtype,
            name=name,
        )(x)


def _sides(kernel: int) -> Sides:
    """PyTorch's padding, the same on all sides."""
    side = (kernel // 2, kernel // 2)
    return side, side


def resnet18() -> ResNet:
    """torchvision's resnet18: maps of 64, 128, 256, 512 channels."""
    return ResNet((2, 2, 2, 2))


def wide_resnet50_2() -> ResNet:
    """torchvision's wide_resnet50_2: maps of 256, 512, 1024, 2048 channels."""
    return ResNet((3, 4, 6, 3), bottleneck=True, inner=2)
