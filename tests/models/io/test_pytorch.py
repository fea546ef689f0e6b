"""PyTorch state dicts to weight files, and what is refused in one sentence."""

import ml_dtypes
import numpy as np
import pytest
from helpers.resnet_states import random_state
from safetensors.numpy import save_file

from gcad_jax.core.errors import UserError
from gcad_jax.models.classifiers.classifier import load_classifier
from gcad_jax.models.io.conversion import convert, read_tensors

ARCH = "resnet18"


@pytest.fixture(scope="module")
def state():
    return random_state(ARCH)


def converted(folder, state):
    save_file(state, folder / "model.safetensors")
    output = folder / "target.npz"
    said = convert(ARCH, str(folder / "model.safetensors"), str(output))
    return said, load_classifier(output)[1]


def test_batch_norms_are_folded(tmp_path, state):
    said, params = converted(tmp_path, state)
    # 11,689,512 as published; 20 norms become one bias each of 4,800 channels.
    assert "resnet18, 42 arrays, 11,684,712 parameters" in said
    scale = state["layer2.0.bn2.weight"] / np.sqrt(
        state["layer2.0.bn2.running_var"] + 1e-5
    )
    np.testing.assert_allclose(
        params["layer2.0.conv2"]["kernel"][2, 0, 5, 7],
        state["layer2.0.conv2.weight"][7, 5, 2, 0] * scale[7],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        params["layer2.0.conv2"]["bias"],
        state["layer2.0.bn2.bias"] - state["layer2.0.bn2.running_mean"] * scale,
        rtol=1e-4,
        atol=1e-6,
    )
    np.testing.assert_array_equal(params["fc"]["kernel"], state["fc.weight"].T)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_floats_become_float32(tmp_path, kind):
    dtype = ml_dtypes.bfloat16 if kind == "bfloat16" else np.dtype(kind)
    values = np.array([[1.5, -2.0, 0.3]]).astype(dtype)
    save_file({"module.a": values}, tmp_path / "x.safetensors")
    tensors = read_tensors(tmp_path / "x.safetensors")
    assert tensors["a"].dtype == np.float32  # without the prefix of DataParallel
    np.testing.assert_array_equal(tensors["a"], values.astype(np.float32))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("layer3.1.bn2.bias"), r"it lacks layer3.1.bn2.bias"),
        (lambda s: s.update(extra=np.ones(1, np.float32)), "the unknown extra"),
        (
            lambda s: s.update({"conv1.weight": np.ones((64, 3, 3, 3), np.float32)}),
            r"conv1.weight has shape \(64, 3, 3, 3\), needed is \(64, 3, 7, 7\)",
        ),
        (
            lambda s: [s.pop(k) for k in list(s) if k.startswith("layer4")],
            r"it lacks layer4.*and \d+ more",
        ),
        (lambda s: s["fc.bias"].fill(np.inf), "fc.bias has values"),
        (lambda s: s["bn1.running_var"].fill(-1), "bn1.running_var is negative"),
        (lambda s: s.update({"fc.bias": np.ones(1000, int)}), "fc.bias has type int64"),
        (lambda s: s.clear(), "holds no tensor"),
    ],
)
def test_every_tensor_is_accounted_for(tmp_path, state, change, sentence):
    changed = {name: tensor.copy() for name, tensor in state.items()}
    change(changed)
    with pytest.raises(UserError, match=sentence):
        converted(tmp_path, changed)
    assert not (tmp_path / "target.npz").exists()


def test_a_damaged_file_and_another_kind_are_refused(tmp_path, state):
    save_file(state, tmp_path / "whole.safetensors")
    data = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="is damaged"):
        read_tensors(tmp_path / "cut.safetensors")
    (tmp_path / "x.h5").write_bytes(b"")
    with pytest.raises(UserError, match=r"'.h5'; .npz, .safetensors, .pth, .pt can be"):
        read_tensors(tmp_path / "x.h5")


def test_pth_equals_safetensors(tmp_path, state):
    torch = pytest.importorskip("torch")
    tensors = {f"module.{k}": torch.tensor(v) for k, v in state.items()}
    torch.save({"state_dict": tensors}, tmp_path / "x.pth")
    save_file(state, tmp_path / "x.safetensors")
    pickled = read_tensors(tmp_path / "x.pth")
    plain = read_tensors(tmp_path / "x.safetensors")
    assert pickled.keys() == plain.keys()
    for name, tensor in plain.items():
        np.testing.assert_array_equal(pickled[name], tensor)


class Code:
    """What a hostile file would run."""

    def __reduce__(self):
        return print, ("ran",)


def test_pth_with_code_or_damage_is_refused(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    torch.save({"a": Code()}, tmp_path / "code.pth")
    torch.save({"a": 3}, tmp_path / "number.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 no archive")
    for name, sentence in (
        ("code", "more than tensors"),
        ("cut", "is damaged"),
        ("number", "a is a int; needed are tensors"),
        ("list", "holds a list; needed is a state dict"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_tensors(tmp_path / f"{name}.pth")
    assert "ran" not in capsys.readouterr().out
