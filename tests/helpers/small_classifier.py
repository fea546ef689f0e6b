"""A classification network of one block a stage, where the network is not the subject.

It has the maps, strides and names of layers of the real ones, and compiles in a tenth
of their time.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gcad_jax.models.classifiers import classifier, pretrained
from gcad_jax.models.classifiers.inverted_residuals import InvertedResiduals, Stage

WIDTHS = (4, 8, 12, 16, 20, 24, 28)  # of the stages
STRIDES = (1, 2, 2, 2, 1, 2, 1)
STAGES = tuple(
    Stage(2 if stage else 1, width, 1, stride)
    for stage, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True))
)
NETWORK = InvertedResiduals(STAGES, num_classes=5)
THEIRS = dict(classifier.CLASSIFIERS)
OF_PACKAGE = pretrained._of_package


@functools.cache
def parameters():
    """Random ones, that keep the variance from layer to layer; biases are 0."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), image)["params"]
    draw = np.random.default_rng(0)

    def drawn(leaf):
        if leaf.ndim == 1:
            return jnp.zeros(leaf.shape)
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return jnp.asarray(draw.normal(scale=scale, size=leaf.shape), jnp.float32)

    return jax.tree.map(drawn, shapes)


def stand_in(patch: pytest.MonkeyPatch, arch: str) -> None:
    """Puts it in the place of `arch`, whose weights of a package are then random."""
    ours = classifier.Classifier(arch, NETWORK, THEIRS[arch].normalize)
    patch.setitem(classifier.CLASSIFIERS, arch, ours)
    params = parameters()
    patch.setattr(
        pretrained,
        "_of_package",
        lambda name: params if name == arch else OF_PACKAGE(name),
    )


def put_back(patch: pytest.MonkeyPatch, arch: str) -> None:
    """Puts the real network and its weights back into that place."""
    patch.setitem(classifier.CLASSIFIERS, arch, THEIRS[arch])
    patch.setattr(pretrained, "_of_package", OF_PACKAGE)


def save(path, arch):
    """Writes its weights, as those of `arch`, as `convert` would leave them."""
    arrays = flatten_dict(parameters(), sep="/")
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    classifier.save_classifier(path, arch, arrays, {})
    return str(path)
