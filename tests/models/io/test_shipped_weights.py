"""The weights of E_loc that come with the package."""

import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.config import presets
from gcad_jax.core.errors import UserError
from gcad_jax.data.input.patches import PatchCutter
from gcad_jax.data.photos import Photos
from gcad_jax.methods.common import pretrained_e_loc
from gcad_jax.methods.common.apply import in_batches
from gcad_jax.methods.gcad import GCAD
from gcad_jax.models.io import patch_descriptors
from gcad_jax.models.io.patch_descriptors import load_descriptor, save_descriptor
from gcad_jax.models.layers.init import imagenet_normalized
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.pretraining.nearest_neighbors import place_retrieval

LARGEST = 8e6  # bytes of a file
FILES = sorted(patch_descriptors.SHIPPED_WEIGHTS.glob("*.npz"))
SMALL = presets.narrow()
METHODS = {
    "paper": GCAD(P=(17, 33, 65)),
    "small": dataclasses.replace(SMALL, P=(17, 33, 65)),
}
NETS = {net: net for m in METHODS.values() for net in map(m.E_loc, m.P)}
SIDE = 65  # of the largest patch


def normalized(images):
    return imagenet_normalized(jnp.asarray(images / 255.0, jnp.float32))


@functools.cache
def patches():
    """Smooth random patches; noise would say little of what the networks describe."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (12, 17, 17, 3)).astype(np.float32)
    return np.asarray(jax.image.resize(coarse, (12, SIDE, SIDE, 3), "bilinear"))


@functools.cache
def compiled(net, form):
    return jax.jit(functools.partial(net.apply, method=form))


@functools.cache
def described(net, source):
    params = {"params": pretrained_e_loc.load_weights(net, source, 0)}
    middle = slice((SIDE - net.p) // 2, (SIDE + net.p) // 2)
    x = normalized(patches()[:, middle, middle])
    return np.asarray(compiled(net, "strided")(params, x))[:, 0, 0]


def test_every_file_is_of_a_preset_and_every_preset_has_its_file():
    assert {patch_descriptors.shipped_path(net) for net in NETS} == set(FILES)
    for method in METHODS.values():
        assert method.teacher == "shipped"
        method.validate()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_small_and_says_what_it_learned_from(path):
    assert path.stat().st_size <= LARGEST
    with np.load(path) as file:
        header = json.loads(str(file["header"]))
        assert {file[n].dtype.name for n in file.files if n != "header"} == {"float16"}
    source = header["source"]
    assert source["target"].startswith("mobilenet_v2, ")
    assert source["p"] == header["p"]
    assert source["steps"] >= 1000
    assert 0.1 < source["R2_held_out"] < 1
    assert source["found"]["place"] > source["found_untrained"]["place"]


@pytest.mark.parametrize("net", NETS, ids=lambda net: f"{net.p}-{net.d_loc}")
def test_the_dense_form_of_trained_weights_equals_their_patch_form(net):
    params = {"params": load_descriptor(patch_descriptors.shipped_path(net), net)}
    image = normalized(patches()[:1, :32, :32])
    dense = jax.jit(net.apply)(params, image)
    half = net.p // 2
    mode = {"zero": "constant", "edge": "edge"}[net.border]
    sides = ((0, 0), (half, half), (half, half), (0, 0))
    padded = np.pad(np.asarray(image), sides, mode=mode)
    places = [(0, 0), (31, 5), (16, 16), (9, 30)]
    cut = np.concatenate([padded[:, r : r + net.p, c : c + net.p] for r, c in places])
    alone = compiled(net, "patch")(params, cut)
    found = np.stack([dense[0, r, c] for r, c in places])
    scale = np.abs(np.asarray(alone)).max()
    np.testing.assert_allclose(found, alone, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("net", NETS, ids=lambda net: f"{net.p}-{net.d_loc}")
def test_shipped_is_another_network_than_random_and_no_dimension_is_dead(net):
    trained, random = described(net, "shipped"), described(net, "random")
    assert np.isfinite(trained).all()
    assert trained.std(axis=0).min() > 1e-3 * trained.std(axis=0).max()
    assert np.abs(trained - random).max() > 0.1 * trained.std()


@pytest.mark.parametrize("p", [17, 33, 65])
def test_half_precision_storage_moves_features_by_less_than_a_hundredth(tmp_path, p):
    net = PatchDescriptor(p)
    params = pretrained_e_loc.load_weights(net, "random", 0)
    save_descriptor(tmp_path / "half.npz", params, net, stored_as="float16")
    half = load_descriptor(tmp_path / "half.npz", net)
    middle = slice((SIDE - p) // 2, (SIDE + p) // 2)
    x = normalized(patches()[:, middle, middle])
    apply = jax.jit(functools.partial(net.apply, method="strided"))
    full, stored = (np.asarray(apply({"params": w}, x)) for w in (params, half))
    assert np.abs(full - stored).max() <= 1e-2 * full.std()
    assert (full != stored).any()


def test_what_does_not_ship_is_said_with_what_does():
    with pytest.raises(
        UserError, match=r"p = 65 and d_loc = 7; they do for .*\(17, 128"
    ):
        patch_descriptors.shipped_path(PatchDescriptor(65, d_loc=7))
    for wrong, says in (
        ({"slope": 0.2}, r"method.slope is 0.2, .* have 0.005: set it to that"),
        ({"E_loc_width": 0.5}, r"E_loc_width is 0.5, .* have 1.0: .*'random'"),
    ):
        with pytest.raises(UserError, match=says):
            GCAD(**wrong).validate()


def test_a_damaged_installation_is_said(tmp_path, monkeypatch):
    net = SMALL.E_loc(17)
    copied = tmp_path / patch_descriptors.shipped_path(net).name
    shutil.copy(patch_descriptors.shipped_path(net), copied)
    copied.write_bytes(copied.read_bytes()[:-2000])
    monkeypatch.setattr(patch_descriptors, "SHIPPED_WEIGHTS", tmp_path)
    with pytest.raises(UserError, match=rf"{copied.name} is damaged"):
        load_descriptor(patch_descriptors.shipped_path(net), net)


@pytest.mark.parametrize("net", NETS, ids=lambda net: f"{net.p}-{net.d_loc}")
def test_places_of_photos_are_found_again_more_often_than_untrained(real_data, net):
    photos = Photos(root=str(real_data / "natural_photos_256"))
    images = photos.load(print)
    held_out = photos.split(len(images))[1]
    retrieval = place_retrieval(images, held_out, PatchCutter(net.p, net.p, (4, 16)))

    def found(source):
        params = {"params": pretrained_e_loc.load_weights(net, source, 0)}
        apply = jax.jit(functools.partial(net.apply, params, method="strided"))
        describe = lambda x: apply(imagenet_normalized(x))  # noqa: E731
        return retrieval.accuracy(lambda x: in_batches(describe, x, 32)[:, 0, 0])

    assert found("shipped") > 1.05 * found("random")
