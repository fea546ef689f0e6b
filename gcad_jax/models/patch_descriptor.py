"""E_loc: descriptors of p x p patches, one for each pixel [P 4, 5.2].

The network is the teacher of Student-Teacher (arXiv 1911.02357) or of EfficientAD
(arXiv 2303.14535); `patch_layers` has the tables. Its patch form describes patches;
its dense form describes the patch around every pixel of an image with the same
parameters, in the phase form: where the patch form pools with stride 2, the dense form
pools with stride 1 and moves the four phases of the grid to the batch axis, so that
every convolution stays undilated and nothing is computed twice (the "fast dense
feature extraction" of Bailer et al., arXiv 1805.03096).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer

from gcad_jax.core.checks import multiple_of, one_of
from gcad_jax.core.types import Array, Features, Images, Tree
from gcad_jax.models.layers.convolution import convolve
from gcad_jax.models.layers.init import he_normal, scaled
from gcad_jax.models.patch_layers import ARCHS, STUDENT_TEACHER, Layer, layers, padding

BORDERS = {"zero": "constant", "reflect": "reflect", "edge": "edge"}  # jnp.pad's modes
MINIMUM_STD = 1e-6


class PatchDescriptor(nn.Module):
    """E_loc for one patch size. Parameters: conv1, conv2, ..., conv_out.

    No activation follows conv_out, so that the normalization of the features can be
    folded into it [P 5.2]. Differentiable in parameters and images.

    Attributes:
      p: patch size: 17, 33 or 65; of a PDN 33.
      d_loc: dimension of a descriptor.
      width: factor on the hidden widths of Student-Teacher; a PDN keeps its own.
      slope: slope of Student-Teacher's leaky ReLU; a PDN has a ReLU.
      p65_conv3: width of the third convolution of p = 65, before `width`.
      border: what surrounds the image: 'zero' (of the normalized image), 'reflect' or
        'edge' (the outermost pixels repeated).
      dtype: of the computation and of the result; parameters are float32.
      kernel_init: initial kernels; None for He's normal initializer at `slope`, which
        keeps the variance of an untrained descriptor through the layers.
      arch: "student_teacher", "pdn_small" or "pdn_medium".
    """

    p: int
    d_loc: int = 128
    width: float = 1.0
    slope: float = 5e-3
    p65_conv3: int = 256
    border: str = "zero"
    dtype: Any = jnp.float32
    kernel_init: Initializer | None = None
    arch: str = STUDENT_TEACHER

    def __call__(self, images: Images) -> Features:  # (B, H, W, 3) -> (B, H, W, D)
        """The descriptor of the patch around every pixel.

        Raises:
          UserError: if H or W is no multiple of 8, or border, arch or p is unknown.
        """
        batch, height, width, _ = images.shape
        multiple_of("The image height", height, 8)
        multiple_of("The image width", width, 8)
        one_of("border", self.border, BORDERS)
        sides = padding(self.p, self.arch)
        pad = partial(
            jnp.pad, pad_width=(sides, sides, (0, 0)), mode=BORDERS[self.border]
        )
        # Image by image: jnp.pad takes slices along an axis that it leaves as it is,
        # and no slice of a free number of images becomes ONNX.
        x = jax.vmap(pad)(images)
        depth = sum(layer.pooled for layer in layers(self.p, self.arch))
        return phases_to_space(self._network(x, to_phases), batch, depth)

    def patch(self, patches: Images) -> Array:  # (B, p, p, 3) -> (B, D)
        """The descriptor of each patch."""
        if patches.shape[1:3] != (self.p, self.p):
            raise ValueError(
                f"patches have shape {patches.shape}; expected (B, {self.p}, {self.p}, "
                "3)."
            )
        return self.strided(patches)[:, 0, 0]

    def strided(self, windows: Images) -> Features:  # (B, h, w, 3) -> (B, n, m, D)
        """The descriptors of the patches `stride(p, arch)` pixels apart.

        n patches side by side need h = p + stride * (n - 1) pixels. What is computed
        for one patch serves its neighbors, unlike in `patch`.
        """
        # Of a pool at stride 1, that at stride 2: a last odd row has no partner.
        return self._network(windows, lambda x: x[:, ::2, ::2])

    @nn.compact
    def _network(self, x: Array, shrink: Callable[[Array], Array]) -> Array:
        *hidden, last = layers(self.p, self.arch, self.p65_conv3)
        arch = ARCHS[self.arch]
        factor, slope = (1.0, 0.0) if arch.published else (self.width, self.slope)

        def apply_layer(x: Array, layer: Layer, width: int, name: str) -> Array:
            return nn.Conv(
                width,
                (layer.kernel, layer.kernel),
                padding="VALID",
                dtype=self.dtype,
                kernel_init=self.kernel_init or he_normal(slope),
                conv_general_dilated=convolve,
                name=name,
            )(x)

        for i, layer in enumerate(hidden, start=1):
            x = apply_layer(x, layer, scaled(layer.width, factor), f"conv{i}")
            x = nn.leaky_relu(x, slope)
            x = shrink(arch.stride_one_pool(x)) if layer.pooled else x
        return apply_layer(x, last, self.d_loc, "conv_out")


def published(arch: str) -> PatchDescriptor:
    """The network of published weights, 'pdn_small' or 'pdn_medium'."""
    (p,), d_loc = ARCHS[arch].layers, ARCHS[arch].d_loc
    assert d_loc is not None, arch
    return PatchDescriptor(p, d_loc, arch=arch)


def to_phases(x: Array) -> Array:  # (B, H, W, C) -> (4 B, H/2, W/2, C)
    """Of a pool at stride 1, the four at stride 2: one for each phase of the grid.

    The phase is the slower part of the batch axis: (row, column, B).
    """
    phases = [x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return jnp.concatenate(phases, axis=0)


def phases_to_space(
    x: Array,  # (4^depth B, h, w, C)
    batch: int,
    depth: int,
) -> Array:  # (B, 2^depth h, 2^depth w, C)
    """Undoes `depth` calls of `to_phases` in one transposition."""
    _, height, width, channels = x.shape
    x = x.reshape((2, 2) * depth + (batch, height, width, channels))
    rows, columns = range(0, 2 * depth, 2), range(1, 2 * depth, 2)
    b, h, w, c = range(2 * depth, 2 * depth + 4)
    side = 2**depth
    # The last pool is the outermost phase and the coarsest step.
    return x.transpose(b, h, *rows, w, *columns, c).reshape(
        batch, side * height, side * width, channels
    )


def feature_moments(
    batches: Iterable[Features],  # each (B, H, W, D)
) -> tuple[np.ndarray, np.ndarray]:  # (D,), (D,) float64
    """Mean and standard deviation of each dimension over all pixels of all batches.

    Two passes within an image in float32 on the device; images are merged in float64
    (Chan et al.), so a generator of batches suffices and no sum loses digits.

    Raises:
      ValueError: if there is no batch.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for features in batches:
        pixels = features.shape[1] * features.shape[2]
        means, sums = jax.device_get(_image_moments(features))
        for m, q in zip(means.astype(np.float64), sums.astype(np.float64), strict=True):
            delta = m - mean
            total = count + pixels
            squares = squares + q + delta**2 * (count * pixels / total)
            mean = mean + delta * (pixels / total)
            count = total
    if not count:
        raise ValueError("feature_moments needs at least one batch of features.")
    return mean, np.sqrt(squares / count)


@jax.jit
def _image_moments(features: Features) -> tuple[Array, Array]:  # (B, D), (B, D)
    """Mean, and sum of squared deviations from it, of each image and dimension."""
    # Along one axis after the other: short sums keep their digits.
    features = features.astype(jnp.float32)
    mean = features.mean(axis=1, keepdims=True).mean(axis=2, keepdims=True)
    squares = jnp.square(features - mean).sum(axis=1).sum(axis=1)
    return mean[:, 0, 0], squares


def fold_normalization(
    params: Mapping[str, Tree], mean: np.ndarray, std: np.ndarray
) -> Tree:
    """Parameters whose descriptors are (x - mean) / max(std, 1e-6) [P 5.2].

    Args:
      params: the 'params' of a `PatchDescriptor`; unchanged.
      mean: (D,) mean of each dimension over the training set.
      std: (D,) standard deviation likewise.
    """
    scale = np.maximum(np.asarray(std, np.float64), MINIMUM_STD)
    last = params["conv_out"]
    kernel = np.asarray(last["kernel"], np.float64) / scale.reshape(1, 1, 1, -1)
    bias = (np.asarray(last["bias"], np.float64) - np.asarray(mean)) / scale
    folded = {
        "kernel": jnp.asarray(kernel, jnp.float32),
        "bias": jnp.asarray(bias, jnp.float32),
    }
    return {**params, "conv_out": folded}
