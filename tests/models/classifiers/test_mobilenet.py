"""MobileNetV2 against an independent NumPy network and the published weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gcad_jax.models.classifiers import mobilenet
from gcad_jax.models.classifiers.classifier import classifier
from gcad_jax.models.io.conversion import CONVERSIONS, read_tensors

# (expansion, width, stride) of each block, from the publication's Table 2.
BLOCKS = [
    (1, 16, 1),
    *[(6, 24, s) for s in (2, 1)],
    *[(6, 32, s) for s in (2, 1, 1)],
    *[(6, 64, s) for s in (2, 1, 1, 1)],
    *[(6, 96, s) for s in (1, 1, 1)],
    *[(6, 160, s) for s in (2, 1, 1)],
    (6, 320, 1),
]


def windows(x, kernel, stride):
    """(H, W, C) -> (h, w, kernel, kernel, C), padded as TensorFlow's 'SAME'."""
    sides = []
    for n in x.shape[:2]:
        missing = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        sides.append((missing // 2, missing - missing // 2))
    x = np.pad(x, (*sides, (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(0, 1))
    return view[::stride, ::stride].transpose(0, 1, 3, 4, 2)


def forward(tensors, image):
    """Pooled features and logits by NumPy; tensors: (w, b) layer by layer."""
    layers = iter(tensors)

    def conv(x, kernel=1, stride=1):
        w, b = next(layers)
        return np.einsum("hwijc,oijc->hwo", windows(x, kernel, stride), w) + b

    def depthwise(x, stride):
        w, b = next(layers)
        return np.einsum("hwijc,ijc->hwc", windows(x, 3, stride), w[0]) + b

    def relu6(x):
        return np.clip(x, 0, 6)

    x = relu6(conv(image, 3, 2))
    for expansion, width, stride in BLOCKS:
        y = relu6(conv(x)) if expansion > 1 else x
        y = conv(relu6(depthwise(y, stride)))
        x = x + y if stride == 1 and x.shape[-1] == width else y
    pooled = relu6(conv(x)).mean(axis=(0, 1))
    w, b = next(layers)
    return pooled, w[:, 0, 0] @ pooled + b


def random_tensors():
    """A published file with random weights: {'001.CONV_2D.w': ...}."""
    draw, tensors, number = np.random.default_rng(0), {}, 0

    def add(kind, shape, fan_in):
        nonlocal number
        number += 1
        stem, out = f"{number:03d}.{kind}", shape[3 if kind[0] == "D" else 0]
        scale = np.sqrt(2 / fan_in)
        tensors[f"{stem}.w"] = (scale * draw.normal(size=shape)).astype(np.float32)
        tensors[f"{stem}.b"] = (0.1 * draw.normal(size=out)).astype(np.float32)

    add("CONV_2D", (32, 3, 3, 3), 27)
    width = 32
    for expansion, out, _ in BLOCKS:
        if expansion > 1:
            add("CONV_2D", (6 * width, 1, 1, width), width)
        inner = expansion * width
        add("DEPTHWISE_CONV_2D", (1, 3, 3, inner), 9)
        add("CONV_2D", (out, 1, 1, inner), inner)
        width = out
    add("CONV_2D", (1280, 1, 1, 320), 320)
    add("CONV_2D", (1001, 1, 1, 1280), 1280)
    return tensors


def nested(arrays):
    tree = {}
    for name, array in arrays.items():
        layer, _, part = name.partition("/")
        tree.setdefault(layer, {})[part] = jnp.asarray(array)
    return tree


@pytest.mark.parametrize("size", [(17, 17), (33, 33), (40, 50)])
def test_equals_numpy_with_random_weights(size):
    tensors = random_tensors()
    params = nested(CONVERSIONS["mobilenet_v2"](tensors, "random"))
    image = np.random.default_rng(1).uniform(size=(*size, 3)).astype(np.float32)
    pairs = [(tensors[n], tensors[n[:-1] + "b"]) for n in tensors if n[-1] == "w"]
    pooled, logits = forward(pairs, 2 * image.astype(np.float64) - 1)
    found = jax.jit(classifier("mobilenet_v2").maps)(params, image[None])
    assert np.abs(pooled).max() > 0.1
    np.testing.assert_allclose(found["pooled"][0], pooled, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["logits"][0], logits, rtol=1e-4, atol=1e-4)


def test_maps_have_the_published_strides_and_widths():
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(
        mobilenet.MOBILENET_V2.init_with_output, jax.random.key(0), images
    )[0]
    assert shapes["stage2"].shape == (2, 56, 56, 24)
    assert shapes["stage3"].shape == (2, 28, 28, 32)
    assert shapes["stage5"].shape == (2, 14, 14, 96)
    assert shapes["last"].shape == (2, 7, 7, 1280)
    assert shapes["logits"].shape == (2, 1001)


def test_published_weights_know_the_classes_of_photos(real_data):
    """The photos are sorted by class; class 0 of the network is the background."""
    file = real_data / "weights" / "mobilenet_v2_1.0_224.npz"
    params = nested(CONVERSIONS["mobilenet_v2"](read_tensors(file), file))
    paths = sorted((real_data / "natural_photos_256").glob("*.jpg"))
    rows = np.arange(0, len(paths), 20)

    def middle(path):
        image = Image.open(path).convert("RGB")
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        return np.asarray(image.crop((left, top, left + 224, top + 224)))

    images = np.stack([middle(paths[i]) for i in rows]).astype(np.float32) / 255
    logits = classifier("mobilenet_v2").maps(params, images)["logits"]
    assert np.mean(np.asarray(logits).argmax(axis=-1) == rows + 1) > 0.75
