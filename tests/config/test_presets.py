"""What stands behind a config file: a preset, a data set, or both."""

import importlib.util
import pathlib

import pytest

from gcad_jax.config import presets, validation
from gcad_jax.core.errors import UserError
from gcad_jax.data.circles import Circles
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.methods.autoencoder import AE

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
BASELINES = {
    "autoencoder": "AE",
    "vae": "VAE",
    "fanogan": "FAnoGAN",
    "mnad": "MNAD",
    "spade": "SPADE",
    "student_teacher": "StudentTeacher",
    "variation_model": "VariationModel",
}


def get_config(name, preset):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(preset)


@pytest.mark.parametrize("name", BASELINES)
def test_the_seven_others_have_a_config_file_each(name):
    paper = get_config(name, "")
    assert type(paper.method).__name__ == BASELINES[name]
    assert isinstance(paper.data, MvtecLocoAd)
    assert vars(paper.method) == vars(type(paper.method)())
    small = validation.resolve(get_config(name, "small,circles"))
    assert isinstance(small.data, Circles)
    assert vars(small.method) != vars(paper.method)
    assert small.image_size <= 128
    validation.resolve(paper)


def test_every_data_set_can_be_named():
    for name, kind in presets.DATA_SETS.items():
        for given in (name, f"small,{name}", f"{name},small"):
            assert type(presets.baseline(AE, given).data) is kind


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("smal", "Did you mean 'small'"),
        ("small,circle", "Did you mean 'circles'"),
        ("circles,folder", "a run has one data set"),
        ("small,small", "one preset and each data set once"),
        ("small,", "allowed are"),
    ],
)
def test_another_word_is_named(given, says):
    with pytest.raises(UserError, match=says):
        presets.baseline(AE, given)


def test_sizes_that_a_method_has_not_are_named():
    given = presets.baseline(AE, "circles")
    given.epochs = 3
    assert validation.resolve(given).method.epochs == 3
    given = get_config("spade", "circles")
    given.seeds, given.num_devices = (4, 2), 4
    found = validation.resolve(given)
    assert (found.seeds, found.num_devices) == ((4,), 1)
    given.epochs = 3
    with pytest.raises(UserError, match="epochs is 3, but SPADE has no epochs: leave"):
        validation.resolve(given)
