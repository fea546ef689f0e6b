"""The patch description networks against NumPy, against patches, against PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_nets, pdn_states

from gcad_jax.models.patch_descriptor import PatchDescriptor, published
from gcad_jax.models.patch_layers import PDNS, padding, receptive_field, stride


@functools.cache
def compiled(net, method="__call__"):
    return jax.jit(functools.partial(net.apply, method=method))


def image(height, width, batch=1):
    rng = np.random.default_rng(height * width)
    return rng.normal(size=(batch, height, width, 3)).astype(np.float32)


def oracle(arch, patches):
    """The published table in NumPy: (B, 33, 33, 3) -> (B, 384)."""
    x, last = patches, len(pdn_states.CONVOLUTIONS[arch]) - 1
    for i, (weight, bias) in enumerate(pdn_states.arrays(arch)):
        x = numpy_nets.conv(x, weight.transpose(2, 3, 1, 0), bias)
        x = np.maximum(x, 0) if i < last else x
        x = numpy_nets.mean_pool(x) if i < pdn_states.POOLED else x
    assert x.shape[1:] == (1, 1, 384)
    return x[:, 0, 0]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arch", "count"),
    # k * k * inputs * outputs + outputs of each convolution, summed by hand.
    [("pdn_small", 2_694_144), ("pdn_medium", 8_026_624)],
)
def test_parameters_of_the_published_table(arch, count):
    assert count == sum(
        k * k * inputs * outputs + outputs
        for k, inputs, outputs in pdn_states.CONVOLUTIONS[arch]
    )
    # Settings of Student-Teacher change nothing.
    for net in (
        published(arch),
        PatchDescriptor(33, 384, width=0.1, slope=0.3, arch=arch),
    ):
        shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
        assert sum(x.size for x in jax.tree.leaves(shapes)) == count


@pytest.mark.parametrize("arch", PDNS)
def test_a_descriptor_sees_33_pixels_centered_on_its_own(arch):
    assert receptive_field(33, arch) == 33
    assert padding(33, arch) == (16, 16)
    assert stride(33, arch) == 4


@pytest.mark.parametrize("arch", PDNS)
def test_gradient_of_one_descriptor_covers_exactly_its_window(arch):
    net, variables = published(arch), pdn_states.variables(arch)
    row, column = 19, 26
    of_descriptor = jax.grad(lambda x, v: net.apply(v, x)[:, row, column].sum())
    gradient = jax.jit(of_descriptor)(image(40, 48), variables)
    seen = np.abs(gradient).sum(axis=(0, 3)) > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    np.testing.assert_array_equal(rows, np.arange(row - 16, row + 17))
    np.testing.assert_array_equal(columns, np.arange(column - 16, column + 17))


@pytest.mark.parametrize("border", ["zero", "reflect"])
@pytest.mark.parametrize("arch", PDNS)
def test_dense_form_describes_the_patch_around_every_pixel(arch, border):
    net = PatchDescriptor(33, 384, border=border, arch=arch)
    variables, x = pdn_states.variables(arch), image(24, 32, batch=2)
    features = np.asarray(compiled(net)(variables, x))
    assert features.shape == (2, 24, 32, 384)
    mode = "constant" if border == "zero" else "reflect"
    padded = np.pad(x, ((0, 0), (16, 16), (16, 16), (0, 0)), mode=mode)
    # Corners, and pixels of all phases modulo 4.
    places = [(0, 0, 0), (1, 23, 31), (0, 10, 5), (1, 3, 18), (0, 13, 31), (1, 12, 8)]
    places += [(0, 21, 7), (1, 6, 30)]
    patches = np.stack([padded[b, r : r + 33, c : c + 33] for b, r, c in places])
    found = np.stack([features[place] for place in places])
    close(found, compiled(net, "patch")(variables, patches))
    some = slice(0, 3)
    expected = oracle(arch, patches[some])
    assert 0.1 < np.abs(expected).std() < 10
    close(found[some], expected)


@pytest.mark.parametrize("arch", PDNS)
def test_the_window_form_gives_the_dense_form_at_stride_4(arch):
    net, variables = published(arch), pdn_states.variables(arch)
    x = image(40, 48)
    dense = np.asarray(compiled(net)(variables, x))[:, 16:-16, 16:-16][:, ::4, ::4]
    windows = compiled(net, "strided")(variables, x)
    assert windows.shape == (1, 2, 4, 384)
    close(windows, dense)


def sequential(torch, arch):
    """The published network, unpadded."""
    steps = []
    convolutions = pdn_states.CONVOLUTIONS[arch]
    for i, (k, inputs, outputs) in enumerate(convolutions):
        steps.append(torch.nn.Conv2d(inputs, outputs, k))
        if i < len(convolutions) - 1:
            steps.append(torch.nn.ReLU())
        if i < pdn_states.POOLED:
            steps.append(torch.nn.AvgPool2d(2, 2))
    network = torch.nn.Sequential(*steps)
    state = pdn_states.random_state(arch)
    network.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    return network.eval()


@pytest.mark.parametrize("arch", PDNS)
def test_equals_torch(arch, record_property):
    torch = pytest.importorskip("torch")
    x = image(64, 56)
    with torch.no_grad():
        y = sequential(torch, arch)(torch.tensor(x).permute(0, 3, 1, 2))
    expected = y.permute(0, 2, 3, 1).numpy()
    assert expected.shape == (1, 8, 6, 384)
    assert 0.1 < expected.std() < 10
    variables = pdn_states.variables(arch)
    dense = np.asarray(compiled(published(arch))(variables, x))
    # Descriptor (i, j) of PyTorch is of the patch around pixel (16 + 4 i, 16 + 4 j).
    found = dense[:, 16 : 64 - 16 : 4, 16 : 56 - 16 : 4]
    most = np.abs(found - expected).max()
    record_property("largest_difference", float(most))
    print(f"{arch}: {most:.1e} with PyTorch {torch.__version__}")
    close(found, expected)
