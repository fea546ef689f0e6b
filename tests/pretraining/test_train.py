"""A whole pretraining: it learns, resumes exactly, and leaves weights that load."""

import dataclasses
import os
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles
from helpers.colors import Colors, write_photos

from gcad_jax.data.photos import Photos
from gcad_jax.models.classifiers.classifier import Classifier
from gcad_jax.models.io.patch_descriptors import load_descriptor
from gcad_jax.models.layers.init import imagenet_normalized
from gcad_jax.pretraining.distillation import Distillation
from gcad_jax.pretraining.train import (
    DistillationJob,
    TargetNetwork,
    distill,
    r_squared,
)
from gcad_jax.training.logs import MetricsLog, read_rows
from gcad_jax.training.options import RunContext
from gcad_jax.training.preemption import Preempted

SETTINGS = Distillation(
    p=17,
    d_loc=8,
    width=1 / 16,
    num_steps=60,
    batch_size=16,
    learning_rate=3e-3,
    standardised=True,
)


COLORS = TargetNetwork("colors", Colors(), {"scale": jnp.float32(3.0)})


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = write_photos(tmp_path_factory.mktemp("photos"))
    return Photos(root=str(folder), held_out_fraction=0.25)


def train(photos, folder, seed=0, settings=SETTINGS, teacher=COLORS):
    folder.mkdir(exist_ok=True)
    job = DistillationJob(settings, photos, photos.load(print), teacher)
    weights = folder / "E_loc_17.npz"
    options = doubles.options(log_every=10)
    context = RunContext((seed,), folder, options, {"a": "config"}, print)
    return distill(job, weights, context)


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(photos, folder)


def test_held_out_patches_are_described_far_better_than_untrained(whole):
    _, result = whole
    assert (result["images"], result["held_out_images"]) == (6, 2)
    assert result["L_k_held_out"] < 0.5 * result["L_k_held_out_untrained"]
    assert result["L_k_held_out"] < 0.8 * result["L_k_held_out_constant"]


@pytest.mark.long
def test_dense_windows_teach_what_stands_at_the_center_of_each_patch(photos, tmp_path):
    class Pixels(nn.Module):
        @nn.compact
        def __call__(self, images):
            return {"pixels": images}

    settings = dataclasses.replace(
        SETTINGS,
        num_steps=300,
        batch_size=4,
        grid=5,
        context=4,
        lambda_c=0.0,
        target_layers=("pixels",),
    )
    network = Classifier("pixels", Pixels(), lambda images: images)
    teacher = TargetNetwork.of(network, {}, settings)
    result = train(photos, tmp_path, settings=settings, teacher=teacher)
    assert result["R2_held_out"] > 0.7


def test_losses_are_logged(whole):
    rows = read_rows(whole[0] / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 10, 20, 30, 40, 50, 60]
    assert {"L_k", "L_c"} <= set(rows[0])
    assert rows[-1]["L_k"] < rows[0]["L_k"]


def test_the_weights_load_and_their_dense_form_equals_the_patch_form(whole):
    E_loc = SETTINGS.E_loc()
    params = load_descriptor(whole[0] / "E_loc_17.npz", E_loc)
    draw = np.random.default_rng(0)
    image = draw.uniform(size=(1, 24, 24, 3)).astype(np.float32)
    x = imagenet_normalized(jnp.asarray(image))
    dense = E_loc.apply({"params": params}, x)[0, 10, 12]
    patch = SETTINGS.encode(params, image[:, 2:19, 4:21])[0, 0, 0]
    np.testing.assert_allclose(dense, patch, rtol=1e-3, atol=1e-4)


@pytest.mark.long
def test_a_run_stopped_by_sigterm_ends_with_the_same_weights(
    whole, photos, tmp_path, monkeypatch
):
    write = MetricsLog.write

    def hooked(self, at, *rest):
        write(self, at, *rest)
        if at == 30:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", hooked)
        with pytest.raises(Preempted):
            train(photos, tmp_path)
    assert not (tmp_path / "E_loc_17.npz").exists()
    result = train(photos, tmp_path)
    assert result["L_k_held_out"] == whole[1]["L_k_held_out"]
    one, other = (
        load_descriptor(folder / "E_loc_17.npz", SETTINGS.E_loc())
        for folder in (tmp_path, whole[0])
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_blank_photos_explain_nothing():
    assert r_squared(30.0, 120.0) == 0.75
    assert r_squared(3.0, 0.0) == 0.0
