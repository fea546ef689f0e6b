"""The converter: what it writes, and what it refuses in one sentence."""

import pathlib

import numpy as np
import pytest
from models.classifiers.test_mobilenet import random_tensors

from gcad_jax.core.errors import UserError
from gcad_jax.models.classifiers.classifier import load_classifier
from gcad_jax.models.io.conversion import convert


@pytest.fixture(scope="module")
def tensors():
    return random_tensors()


def written(folder, tensors):
    np.savez(folder / "weights.npz", **tensors)
    return str(folder / "weights.npz")


def test_a_converted_file_loads_with_every_array(tmp_path, tensors):
    output = tmp_path / "target.npz"
    said = convert("mobilenet_v2", written(tmp_path, tensors), str(output))
    assert "106 arrays, 3,489,097 parameters" in said  # published: 3.5 million
    network, params = load_classifier(output)
    assert network.arch == "mobilenet_v2"
    kernel = params["stage2_block1_depthwise"]["kernel"]
    np.testing.assert_array_equal(
        kernel[:, :, 0], tensors["005.DEPTHWISE_CONV_2D.w"][0]
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("030.CONV_2D.w"), r"lacks '030.CONV_2D.w'"),
        (lambda t: [t.pop(f"030.CONV_2D.{x}") for x in "wb"], "1.0: layer 3"),
        (lambda t: t.update({"999.CONV_2D.w": np.ones(1)}), "nothing more"),
        (
            lambda t: t.update({"003.CONV_2D.b": np.ones(5, np.float32)}),
            r"stage1_block1_project/bias has shape \(5,\), needed is \(16,\)",
        ),
        (lambda t: t["001.CONV_2D.w"].fill(np.nan), "001.CONV_2D.w has values"),
        (lambda t: t.update({"001.CONV_2D.b": np.ones(32, int)}), "needed are floats"),
    ],
)
def test_every_array_is_accounted_for(tmp_path, tensors, change, sentence):
    changed = {name: tensor.copy() for name, tensor in tensors.items()}
    change(changed)
    output = tmp_path / "target.npz"
    with pytest.raises(UserError, match=sentence):
        convert("mobilenet_v2", written(tmp_path, changed), str(output))
    assert not output.exists()


def test_wrong_files_and_names_are_refused(tmp_path, tensors):
    source = written(tmp_path, tensors)
    with pytest.raises(UserError, match="arch is 'resnet'"):
        convert("resnet", source, str(tmp_path / "x.npz"))
    with pytest.raises(UserError, match=r"must end in .npz"):
        convert("mobilenet_v2", source, str(tmp_path / "x"))
    with pytest.raises(UserError, match="does not exist"):
        convert("mobilenet_v2", str(tmp_path / "no.npz"), str(tmp_path / "x.npz"))
    (tmp_path / "cut.npz").write_bytes(pathlib.Path(source).read_bytes()[:1000])
    with pytest.raises(UserError, match="is damaged"):
        convert("mobilenet_v2", str(tmp_path / "cut.npz"), str(tmp_path / "x.npz"))


def test_the_published_weights_are_never_overwritten(tmp_path, tensors):
    source = written(tmp_path, tensors)
    before = pathlib.Path(source).read_bytes()
    with pytest.raises(UserError, match="is the file that is converted"):
        convert("mobilenet_v2", source, source)
    assert pathlib.Path(source).read_bytes() == before


def test_a_file_that_was_converted_is_not_converted_again(tmp_path, tensors):
    output = tmp_path / "target.npz"
    convert("mobilenet_v2", written(tmp_path, tensors), str(output))
    with pytest.raises(
        UserError, match=r"target\.npz is a weight file of this program"
    ):
        convert("mobilenet_v2", str(output), str(tmp_path / "again.npz"))
    assert not (tmp_path / "again.npz").exists()
