import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.core.errors import UserError
from gcad_jax.models.io.patch_descriptors import load_descriptor, save_descriptor
from gcad_jax.models.patch_descriptor import PatchDescriptor, published

NET = PatchDescriptor(33, d_loc=6, width=0.05)


@pytest.fixture(scope="module")
def params():
    return jax.jit(NET.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]


@pytest.fixture
def path(tmp_path, params):
    path = tmp_path / "e_loc_33.npz"
    save_descriptor(path, params, NET)
    return path


def rewrite(path, change):
    """Changes the entries of a file, keeping its header's checksum."""
    with np.load(path) as file:
        entries = dict(file)
    change(entries)
    np.savez(path, **entries)


def edit_header(**fields):
    def change(entries):
        header = json.loads(str(entries["header"])) | fields
        entries["header"] = np.array(json.dumps(header))

    return change


def test_float32_comes_back_exactly(path, params):
    loaded = load_descriptor(path, NET)
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert os.listdir(path.parent) == [path.name]


def test_float16_comes_back_as_float32_within_its_precision(tmp_path, params):
    path = tmp_path / "half.npz"
    save_descriptor(path, params, NET, stored_as="float16")
    loaded = load_descriptor(path, NET)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=2**-11, atol=2**-25)


def test_computation_settings_do_not_bind_a_file(path):
    other = PatchDescriptor(
        33, d_loc=6, width=0.05, border="reflect", dtype=jnp.bfloat16
    )
    load_descriptor(path, other)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (PatchDescriptor(17, d_loc=6, width=0.05), "p = 33, .* asks for 17"),
        (PatchDescriptor(33, d_loc=6, width=0.1), "width = 0.05, .* asks for 0.1"),
        (PatchDescriptor(33, d_loc=8, width=0.05), "d_loc = 6, .* asks for 8"),
        (PatchDescriptor(33, 6, 0.05, slope=0.2), "slope = 0.005, .* asks for 0.2"),
        (
            PatchDescriptor(33, d_loc=6, arch="pdn_small"),
            "arch = 'student_teacher', .* asks for 'pdn_small'",
        ),
    ],
)
def test_another_descriptor_is_refused(path, other, message):
    with pytest.raises(UserError, match=f"e_loc_33.npz .*{message}"):
        load_descriptor(path, other)


def test_a_file_without_an_architecture_is_of_student_teacher(path, params):
    def forget(entries):
        header = json.loads(str(entries["header"]))
        assert header.pop("arch") == "student_teacher"
        entries["header"] = np.array(json.dumps(header))

    rewrite(path, forget)
    jax.tree.map(np.testing.assert_array_equal, load_descriptor(path, NET), params)
    with pytest.raises(UserError, match=r"'student_teacher', .* asks for 'pdn_medium'"):
        load_descriptor(path, published("pdn_medium"))


@pytest.mark.parametrize("stored_as", ["float32", "float16"])
def test_a_pdn_file_is_for_its_architecture_alone(tmp_path, stored_as):
    net = PatchDescriptor(33, d_loc=4, arch="pdn_small")
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    path = tmp_path / "pdn.npz"
    save_descriptor(path, params, net, stored_as, source={"file": "teacher.pth"})
    # Width and slope belong to Student-Teacher.
    loaded = load_descriptor(
        path, PatchDescriptor(33, 4, width=0.5, slope=0.2, arch="pdn_small")
    )
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_array_equal(a, np.asarray(b, stored_as).astype(np.float32))
    with np.load(path) as file:
        assert json.loads(str(file["header"]))["source"] == {"file": "teacher.pth"}
    for other in ("pdn_medium", "student_teacher"):
        with pytest.raises(UserError, match=f"arch = 'pdn_small', .* for '{other}'"):
            load_descriptor(path, PatchDescriptor(33, d_loc=4, arch=other))


def test_p65_files_name_the_width_of_their_third_layer(tmp_path):
    net = PatchDescriptor(65, d_loc=4, width=0.03)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    path = tmp_path / "e_loc_65.npz"
    save_descriptor(path, params, net)
    other = PatchDescriptor(65, d_loc=4, width=0.03, p65_conv3=128)
    with pytest.raises(UserError, match=r"p65_conv3 = 256, .* asks for 128"):
        load_descriptor(path, other)


def drop(entries):
    del entries["conv2/bias"]


def add(entries):
    entries["conv9/bias"] = np.zeros(3, np.float32)


def reshape(entries):
    entries["conv1/kernel"] = entries["conv1/kernel"][:3]


def retype(entries):
    entries["conv1/bias"] = entries["conv1/bias"].astype(np.int32)


def not_a_number(entries):
    entries["conv1/bias"][0] = np.nan


def flip(entries):
    entries["conv1/bias"][0] += 1


def no_header(entries):
    del entries["header"]


def no_json(entries):
    entries["header"] = np.array("{")


def list_header(entries):
    entries["header"] = np.array("[1]")


def objects(entries):
    entries["conv1/bias"] = np.array([{}, None], dtype=object)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "lacks conv2/bias"),
        (add, "unknown conv9/bias"),
        (reshape, r"conv1/kernel has shape \(3, 5, 3, 6\), needed is \(5, 5, 3, 6\)"),
        (retype, "conv1/bias has type int32"),
        (not_a_number, "conv1/bias has values that are not finite"),
        (flip, "damaged: .* checksum"),
        (no_header, "damaged or no weight file"),
        (no_json, "damaged or no weight file"),
        (list_header, "damaged or no weight file"),
        (objects, "damaged or no weight file"),
        (edit_header(version=2), "version 2; this program reads"),
        (edit_header(format="other"), "format 'other'"),
        (edit_header(sha256="00"), "damaged: .* checksum"),
    ],
)
def test_wrong_contents_are_refused(path, change, message):
    rewrite(path, change)
    with pytest.raises(UserError, match=f"e_loc_33.npz .*{message}"):
        load_descriptor(path, NET)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_truncated_file_is_refused(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(UserError, match=r"e_loc_33\.npz is damaged"):
        load_descriptor(path, NET)


def test_every_damaged_byte_is_noticed_or_harmless(path, params):
    data = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(data), 150):
        broken = bytearray(data)
        broken[position] ^= 0xFF
        path.write_bytes(bytes(broken))
        try:
            loaded = load_descriptor(path, NET)
        except UserError:
            continue
        jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_foreign_files_are_refused(tmp_path):
    array = tmp_path / "array.npy"
    np.save(array, np.zeros(3))
    text = tmp_path / "text.npz"
    text.write_text("not weights")
    for path in (array, text):
        with pytest.raises(UserError, match=f"{path.name} is damaged or no weight"):
            load_descriptor(path, NET)
    for path in (tmp_path, tmp_path / "missing.npz"):
        with pytest.raises(UserError, match="is not there or is no file"):
            load_descriptor(path, NET)


def test_parameters_that_do_not_fit_are_not_written(tmp_path, params):
    path = tmp_path / "weights.npz"
    with pytest.raises(ValueError, match="lacks conv_out/bias, conv_out/kernel"):
        save_descriptor(path, {n: params[n] for n in params if n != "conv_out"}, NET)
    huge = {**params, "conv1": jax.tree.map(lambda x: x + 1e6, params["conv1"])}
    with pytest.raises(ValueError, match="not finite"):
        save_descriptor(path, huge, NET, stored_as="float16")
    with pytest.raises(ValueError, match="'int8'; allowed"):
        save_descriptor(path, params, NET, stored_as="int8")
    assert os.listdir(tmp_path) == []


def test_failed_write_leaves_the_old_file(path, params, monkeypatch):
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match=r"cannot be written \(No space left"):
        save_descriptor(path, params, NET)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_that_cannot_be_is_named(tmp_path, params):
    (tmp_path / "none").write_text("a file")
    with pytest.raises(UserError, match=r"none.*cannot be written"):
        save_descriptor(tmp_path / "none" / "weights.npz", params, NET)
