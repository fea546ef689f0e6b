"""The ResNets against PyTorch, and without it against NumPy."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from helpers import numpy_nets
from helpers.resnet_states import DEPTHS, random_state, shapes

from gcad_jax.models.classifiers.classifier import classifier
from gcad_jax.models.io.conversion import CONVERSIONS

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
ARCHS = tuple(DEPTHS)


def forward(arch, state, images, conv, norm, pool):
    """Feature maps by the published definition, from three operations on arrays.

    conv(x, key, stride, pad), norm(x, key), pool(x) are of either framework.
    """
    features, x = {}, pool(norm(conv(images, "conv1", 2, 3), "bn1").clip(0))
    for i, depth in enumerate(DEPTHS[arch]):
        for j in range(depth):
            stem, stride = f"layer{i + 1}.{j}", 2 if i and not j else 1
            if arch == "resnet18":
                steps = [(stride, 1), (1, 1)]
            else:
                steps = [(1, 0), (stride, 1), (1, 0)]
            y = x
            for k, (step, pad) in enumerate(steps, start=1):
                y = norm(conv(y, f"{stem}.conv{k}", step, pad), f"{stem}.bn{k}")
                y = y.clip(0) if k < len(steps) else y
            if f"{stem}.downsample.0.weight" in state:
                down = f"{stem}.downsample"
                x = norm(conv(x, f"{down}.0", stride, 0), f"{down}.1")
            x = (x + y).clip(0)
        features[f"layer{i + 1}"] = x
    return features


def with_numpy(arch, state, images):
    """(B, H, W, 3) in [0, 1] -> features (B, h, w, C), float64."""

    def conv(x, key, stride, pad):
        kernel = state[f"{key}.weight"].astype(np.float64).transpose(2, 3, 1, 0)
        return numpy_nets.conv(x, kernel, 0, stride, pad)

    def norm(x, key):
        scale, bias, mean, variance = (
            state[f"{key}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + bias

    def pool(x):
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
        return windows[:, ::2, ::2].max(axis=(-1, -2))

    return forward(arch, state, (images - MEAN) / STD, conv, norm, pool)


def with_torch(torch, arch, state, images):
    tensors = {key: torch.tensor(value) for key, value in state.items()}
    functional = torch.nn.functional

    def conv(x, key, stride, pad):
        return functional.conv2d(x, tensors[f"{key}.weight"], None, stride, pad)

    def norm(x, key):
        mean, variance, scale, bias = (
            tensors[f"{key}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, scale, bias)

    x = torch.tensor(((images - MEAN) / STD).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = forward(
            arch, state, x, conv, norm, lambda x: functional.max_pool2d(x, 3, 2, 1)
        )
    return {name: f.permute(0, 2, 3, 1).numpy() for name, f in features.items()}


def found(arch, state, images):
    tensors = {k: v for k, v in state.items() if "num_batches" not in k}
    params = unflatten_dict(CONVERSIONS[arch](tensors, "random"), sep="/")
    network = classifier(arch)
    return jax.jit(network.maps)(params, jnp.asarray(images, jnp.float32))


def check(maps, expected, state):
    """Largest difference of any feature from its oracle."""
    last = expected["layer4"].mean(axis=(1, 2))
    expected = expected | {
        "pooled": last,
        "logits": last @ state["fc.weight"].T + state["fc.bias"],
    }
    assert maps.keys() == expected.keys()
    for name, values in expected.items():
        assert 0.05 < np.abs(values).max() < 100, name
        np.testing.assert_allclose(maps[name], values, rtol=1e-4, atol=1e-4)
    return max(np.abs(maps[n] - v).max() for n, v in expected.items())


def images(height, width):
    return np.random.default_rng(1).uniform(size=(1, height, width, 3))


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        ("resnet18", (17, 17)),
        ("resnet18", (33, 40)),
        ("resnet18", (64, 64)),
        ("wide_resnet50_2", (40, 33)),
    ],
)
def test_equals_numpy(arch, size):
    state, x = random_state(arch), images(*size)
    check(found(arch, state, x), with_numpy(arch, state, x), state)


@pytest.mark.parametrize("arch", ARCHS)
def test_equals_torch(arch, record_property):
    torch = pytest.importorskip("torch")
    state, x = random_state(arch), images(96, 65)
    most = check(found(arch, state, x), with_torch(torch, arch, state, x), state)
    record_property("largest_difference", float(most))
    print(f"{arch}: {most:.1e}")


@pytest.mark.parametrize(
    ("arch", "parameters", "widths"),
    [
        ("resnet18", 11_689_512, (64, 128, 256, 512)),
        ("wide_resnet50_2", 68_883_240, (256, 512, 1024, 2048)),
    ],
)
def test_published_size_and_maps(arch, parameters, widths):
    state = shapes(arch)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learned = sum(
        int(np.prod(s)) for k, s in state.items() if not k.endswith(statistics)
    )
    assert learned == parameters
    network = classifier(arch)
    assert tuple(network.widths()[f"layer{i}"] for i in (1, 2, 3, 4)) == widths
    maps = jax.eval_shape(
        network.module.init_with_output, jax.random.key(0), jnp.zeros((2, 224, 224, 3))
    )[0]
    sides = (56, 28, 14, 7)
    for i, (side, width) in enumerate(zip(sides, widths, strict=True), start=1):
        assert maps[f"layer{i}"].shape == (2, side, side, width)


@pytest.mark.parametrize("arch", ARCHS)
def test_keys_and_shapes_are_torchvisions(arch, real_data):
    file = real_data / "paper" / "resnet_state_dict_shapes.json"
    published = json.loads(file.read_text())[arch]
    assert {k: list(s) for k, s in shapes(arch).items()} == published
