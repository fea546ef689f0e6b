"""Teachers of EfficientAD to weights of E_loc, and what is refused in one sentence."""

import json

import jax
import numpy as np
import pytest
from helpers import pdn_states
from safetensors.numpy import save_file

from gcad_jax.convert import COMMAND
from gcad_jax.core.errors import UserError
from gcad_jax.models.io.conversion import CONVERSIONS, convert
from gcad_jax.models.io.patch_descriptors import load_descriptor
from gcad_jax.models.patch_descriptor import published


def converted(folder, arch, state):
    """What was said, and the weight file, from a .safetensors file."""
    contiguous = {name: np.ascontiguousarray(t) for name, t in state.items()}
    save_file(contiguous, folder / "teacher.safetensors")
    output = folder / "E_loc_33.npz"
    return convert(arch, str(folder / "teacher.safetensors"), str(output)), output


@pytest.mark.parametrize("layout", ["sequential", "named"])
@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("pdn_small", "pdn_small, 8 arrays, 2,694,144 parameters"),
        ("pdn_medium", "pdn_medium, 12 arrays, 8,026,624 parameters"),
    ],
)
def test_both_layouts_become_weights_of_E_loc(tmp_path, arch, said, layout):
    state = pdn_states.random_state(arch, layout)
    sentence, output = converted(tmp_path, arch, state)
    assert said in sentence
    params = load_descriptor(output, published(arch))
    expected = pdn_states.variables(arch)["params"]
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    with np.load(output) as file:
        origin = json.loads(str(file["header"]))["source"]
    assert origin["file"] == "teacher.safetensors"
    assert len(origin["sha256"]) == 64


def test_a_float16_teacher_becomes_float32(tmp_path):
    state = pdn_states.random_state("pdn_small")
    halves = {name: tensor.astype(np.float16) for name, tensor in state.items()}
    _, output = converted(tmp_path, "pdn_small", halves)
    params = load_descriptor(output, published("pdn_small"))
    kernel = np.asarray(params["conv2"]["kernel"])
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel[2, 1, 5], halves["3.weight"][:, 5, 2, 1])


@pytest.mark.parametrize("layout", ["sequential", "named"])
def test_pth_equals_safetensors(tmp_path, layout):
    torch = pytest.importorskip("torch")
    state = pdn_states.random_state("pdn_small", layout)
    torch.save({k: torch.tensor(v) for k, v in state.items()}, tmp_path / "x.pth")
    convert("pdn_small", str(tmp_path / "x.pth"), str(tmp_path / "E_loc_33.npz"))
    jax.tree.map(
        np.testing.assert_array_equal,
        load_descriptor(tmp_path / "E_loc_33.npz", published("pdn_small")),
        pdn_states.variables("pdn_small")["params"],
    )


@pytest.mark.parametrize(
    ("layout", "change", "sentence"),
    [
        ("sequential", lambda s: s.pop("6.bias"), r"it lacks 6.bias; check arch="),
        ("named", lambda s: s.pop("conv4.weight"), r"it lacks conv4.weight"),
        (
            "sequential",
            lambda s: s.update({"10.bias": np.ones(384, np.float32)}),
            "the unknown 10.bias",
        ),
        (
            "named",
            lambda s: s.update({"mean": np.ones(384, np.float32)}),
            "the unknown mean",
        ),
        (
            "sequential",
            lambda s: s.update({"8.weight": s["8.weight"][:128]}),
            r"8.weight has shape \(128, 256, 4, 4\), needed is \(384, 256, 4, 4\)",
        ),
        (
            "named",
            lambda s: s.update({"conv3.bias": s["conv3.bias"][:, None]}),
            r"conv3.bias has shape \(256, 1\), needed is \(256,\)",
        ),
        (
            "named",
            lambda s: s.update({"conv1.bias": np.full(128, np.nan, np.float32)}),
            "conv1.bias has values that are not finite",
        ),
    ],
)
def test_every_tensor_is_accounted_for(tmp_path, layout, change, sentence):
    state = pdn_states.random_state("pdn_small", layout)
    change(state)
    with pytest.raises(UserError, match=sentence):
        converted(tmp_path, "pdn_small", state)
    assert not (tmp_path / "E_loc_33.npz").exists()


@pytest.mark.parametrize("layout", ["sequential", "named"])
@pytest.mark.parametrize(
    ("given", "asked", "sentence"),
    [
        (
            "pdn_small",
            "pdn_medium",
            r"lacks (10|conv5).bias.*check arch=",
        ),
        ("pdn_medium", "pdn_small", r"the unknown (10|conv5).bias"),
        ("pdn_small", "resnet18", r"does not fit"),
    ],
)
def test_another_architecture_is_refused(tmp_path, given, asked, sentence, layout):
    state = pdn_states.random_state(given, layout)
    with pytest.raises(UserError, match=sentence):
        converted(tmp_path, asked, state)
    assert not (tmp_path / "E_loc_33.npz").exists()


def test_help_says_how_the_result_is_used():
    text = COMMAND.help()
    for arch in CONVERSIONS:
        assert arch in text
    for flag in (
        "--config.method.teacher=E_loc_33.npz",
        "--config.method.E_loc_arch=pdn_small",
        "--config.method.d_loc=384",
        '--config.method.P="(33,)"',
    ):
        assert flag in text
