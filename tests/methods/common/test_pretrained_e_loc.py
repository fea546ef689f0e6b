"""Where weights of E_loc come from, and a patch description network as E_loc."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import pdn_states
from safetensors.numpy import save_file

from gcad_jax.core.errors import UserError
from gcad_jax.methods.common import pretrained_e_loc
from gcad_jax.methods.gcad import GCAD
from gcad_jax.models.io.conversion import convert
from gcad_jax.models.patch_descriptor import PatchDescriptor


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def pdn(**fields):
    """GCAD with PDN-S and narrow networks around it."""
    settings = {
        "image_size": 32,
        "P": (33,),
        "d_loc": 384,
        "width": 1 / 16,
        "teacher": "random",
        "E_loc_arch": "pdn_small",
    }
    return GCAD(**settings | fields)


def test_a_converted_pdn_is_E_loc_with_normalized_features(tmp_path, images):
    state = {
        name: np.ascontiguousarray(tensor)
        for name, tensor in pdn_states.random_state("pdn_small").items()
    }
    save_file(state, tmp_path / "teacher.safetensors")
    convert(
        "pdn_small",
        str(tmp_path / "teacher.safetensors"),
        str(tmp_path / "E_loc_33.npz"),
    )
    method = pdn(teacher=str(tmp_path / "E_loc_33.npz"))
    method.validate()
    frozen = method.prepare(images)
    # `width` scales the trained networks, not published weights.
    assert frozen["E_loc_33"]["conv1"]["kernel"].shape == (4, 4, 3, 128)
    np.testing.assert_array_equal(
        frozen["E_loc_33"]["conv1"]["kernel"], state["0.weight"].transpose(2, 3, 1, 0)
    )
    x = jnp.asarray(images / 255.0, jnp.float32)
    features = np.asarray(method.cache(frozen, x)["E_loc_33"]).reshape(-1, 384)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-3)
    assert "E_loc_arch pdn_small" in method.describe()[1]
    other = pdn(teacher=method.teacher, E_loc_arch="pdn_medium")
    with pytest.raises(UserError, match=r"arch = 'pdn_small', .* for 'pdn_medium'"):
        other.prepare(images)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"E_loc_arch": "pdn_large"}, "E_loc_arch is 'pdn_large'; allowed are 'stud"),
        (
            {"P": (17, 33)},
            r"P names 17, but E_loc_arch 'pdn_small' .* 33 pixels alone: .* \(33,\)",
        ),
        ({"P": (65,), "E_loc_arch": "pdn_medium"}, "P names 65, .*'pdn_medium'"),
        ({"d_loc": 128}, "d_loc is 128, .* has 384 features: set d_loc to 384"),
        (
            {"teacher": "shipped"},
            r"No weights of E_loc 'pdn_small' come .*convert with arch=pdn_small",
        ),
    ],
)
def test_another_size_or_weights_that_do_not_ship_are_refused(fields, says):
    with pytest.raises(UserError, match=says):
        pdn(**fields).validate()


@pytest.mark.parametrize("arch", ["pdn_small", "pdn_medium"])
def test_a_random_pdn_is_accepted(arch):
    pdn(E_loc_arch=arch).validate()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", r"method.teacher is '', .* allowed are 'shipped', 'random' or the path"),
        ("shiped", r"there is no file 'shiped'; .*Did you mean 'shipped'\?"),
        ("no/E_loc_{p}.npz", r"no/E_loc_\{p\}.npz', .* no file 'no/E_loc_17.npz'"),
    ],
)
def test_a_teacher_that_is_not_there_names_the_field(source, says):
    with pytest.raises(UserError, match=says):
        pretrained_e_loc.load_weights(PatchDescriptor(17), source, 0)


def test_a_file_of_another_kind_is_not_called_pickled(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"\x80" * 400)
    with pytest.raises(UserError, match=r"is no \.npz archive.* convert it first"):
        pretrained_e_loc.load_weights(
            PatchDescriptor(17), str(tmp_path / "x.safetensors"), 0
        )
