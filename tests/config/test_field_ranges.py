"""Every field of every config is described, and refuses what it cannot mean."""

import dataclasses
import math
import typing

import pytest
from helpers import runs

from gcad_jax.config import Experiment, Pretraining, validation
from gcad_jax.config.field_help import WIDTH, format_fields
from gcad_jax.config.files import load
from gcad_jax.config.serialization import FREE, leaf_fields
from gcad_jax.core.errors import UserError
from gcad_jax.core.fields import (
    REQUIRED,
    field,
    field_specs,
    field_texts,
    validate_fields,
)
from gcad_jax.data.circles import Circles
from gcad_jax.data.folder import Folder
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec_ad import MvtecAd
from gcad_jax.data.photos import Photos
from gcad_jax.methods.autoencoder import AE
from gcad_jax.methods.base import read_phases
from gcad_jax.methods.fanogan import FAnoGAN
from gcad_jax.methods.gcad import GCAD
from gcad_jax.methods.mnad import MNAD
from gcad_jax.methods.spade import SPADE
from gcad_jax.methods.student_teacher import StudentTeacher
from gcad_jax.methods.vae import VAE
from gcad_jax.methods.variation_model import VariationModel
from gcad_jax.pretraining.distillation import Distillation
from gcad_jax.studies.saturation import config as saturation
from gcad_jax.studies.throughput import config as throughput


def validate_method(method):
    method.validate()


def validate_data(data):
    validation.check_training(Experiment(data=data, method=GCAD()))


def validate_photos(data):
    validation.check_training(Pretraining(data=data, method=Distillation()))


METHODS = (AE, VAE, FAnoGAN, GCAD, MNAD, SPADE, StudentTeacher, VariationModel)
CONFIGS = [
    *((kind(), validate_method) for kind in (*METHODS, Distillation)),
    *((kind(), validate_data) for kind in (Circles, Folder, MvtecAd, MvtecLocoAd)),
    (Photos(), validate_photos),
    (Experiment(data=Circles(), method=GCAD()), validation.check_training),
    (Pretraining(data=Photos(), method=Distillation()), validation.check_training),
    (saturation.SaturationStudy(workdirs=("a",)), saturation.check_config),
    (throughput.throughput(""), throughput.check),
]
# In no field: no number, none that JAX holds in 32 bits, below all, and other types.
NEVER = (math.nan, math.inf, -math.inf, 1e39, 10**39, -1e9, True, "1", None)


def cases():
    for config, validate in CONFIGS:
        types = {part.name: part.type for part in dataclasses.fields(config)}
        for name in field_specs(config):
            number, items = kind_of(types[name])
            for value in NEVER if number else ():
                if value is not None or type(None) not in typing.get_args(types[name]):
                    wrong = (value,) * items if items else value
                    label = f"{type(config).__name__}.{name}={wrong}"
                    yield pytest.param(config, validate, name, wrong, id=label)


def kind_of(annotation):
    """Whether a field is a number, or a tuple of so many numbers; 0 for no tuple."""
    arguments = [a for a in typing.get_args(annotation) if a is not ...]
    items = typing.get_origin(annotation) is tuple and max(1, len(arguments))
    kinds = arguments or [annotation]
    return any(kind in (int, float) for kind in kinds), int(items)


@pytest.mark.parametrize(("config", "validate", "name", "value"), [*cases()])
def test_what_no_number_can_be_is_refused(config, validate, name, value):
    wrong = dataclasses.replace(config, **{name: value})
    with pytest.raises(UserError, match=rf"\b{name} is ") as error:
        validate(wrong)
    assert str(error.value).endswith((".", "?"))


@pytest.mark.parametrize(
    "config", [c for c, _ in CONFIGS], ids=lambda c: type(c).__name__
)
def test_every_field_is_described_and_every_number_has_a_lower_bound(config):
    specs, texts = field_specs(config), field_texts(type(config))
    for part in dataclasses.fields(config):
        assert texts[part.name].doc
        allowed = specs[part.name].allowed
        if kind_of(part.type)[0]:
            bounds = (allowed.above, allowed.at_least, allowed.multiple_of)
            assert allowed.choices or any(b is not None for b in bounds), part.name
        assert allowed.at_most is None or allowed.reason or allowed.at_least is not None


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (GCAD(width=-1.0), "width is -1.0; it must be above 0."),
        (GCAD(width=1e9), "width is 1000000000.0; it must be at most 16: the networks"),
        (GCAD(image_size=2**20), "image_size is 1048576; it must be at most 8192: one"),
        (GCAD(epochs=10**12), "epochs is 1000000000000; it must be below 2.*32 bits"),
        (GCAD(epochs=2.0), "epochs is 2.0; it must be a whole number."),
        (GCAD(E_glo_widths=(32, 32, -64, 64, 128)), "E_glo_widths is -64; .* above 0"),
        (GCAD(E_glo_widths=(32, 32)), r"E_glo_widths is \(32, 32\); .* 5 widths"),
        (GCAD(E_glo_widths=(16000,) * 5, width=8.0), "a layer of 128000 channels"),
        (GCAD(U_widths=(64, 2**20)), "U_widths is 1048576; it must be at most 16384"),
        (
            GCAD(U_widths=16),
            r"is 16; .* whole numbers, as in method.U_widths=.\(1, 2\)",
        ),
        (GCAD(teacher_seed=2**31), "teacher_seed is 2147483648; it must be below 2"),
        (GCAD(augmented=1), "augmented is 1; it must be True or False."),
        (GCAD(teacher=3), "teacher is 3; it must be a text in quotes."),
        (GCAD(skip_end=-0.1), "it is a fraction of the epochs, from 0 to 1"),
        (AE(widths=(4, 4, 4, 4, 4.5)), "widths is .*4.5.*whole numbers"),
        (VAE(kl_weight=math.nan), "kl_weight is nan; it must be a finite number"),
        (FAnoGAN(latent=-1), "latent is -1; it must be above 0"),
        (FAnoGAN(momentum=1.5), "momentum is 1.5; it must be from 0 to 1"),
        (MNAD(width=-0.5), "width is -0.5"),
        (SPADE(sigma=1e6), "sigma is 1000000.0; it must be at most 8192"),
        (StudentTeacher(students=1000), "students is 1000; it must be at most 100"),
        (VariationModel(degrees=(180.0, 1e-6)), "for at most 1800 angles"),
        (VariationModel(degrees=(400.0, 1.0)), "degrees is 400.0; .* from 0 to 180"),
        (VariationModel(image_size=2**20), "image_size is 1048576; it must be at most"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_mistakes_are_said_in_one_sentence(method, words):
    with pytest.raises(UserError, match=words):
        method.validate()


def test_more_updates_than_can_be_counted_are_refused():
    method = GCAD(epochs=10**9, teacher="random")
    method.validate()
    assert read_phases(method, 1)
    with pytest.raises(UserError, match="would make 80000000000 updates"):
        read_phases(method, 80)


def test_fields_that_a_workdir_may_change():
    assert {
        "gcad_jax",
        "checkpoint_minutes",
        "data.cache_dir",
        "num_devices",
        "layout",
        "steps_per_call",
        "write_maps",
        "write_detectors",
        "figure_images",
        "threads",
        "processes",
        "data.memory_gib",
        "stored_as",
    } == FREE


def test_a_text_without_a_source_is_named():
    @dataclasses.dataclass
    class Unsaid:
        images: str = field(REQUIRED)
        """The natural images."""

    with pytest.raises(ValueError, match=r"Unsaid.images must end with a source"):
        field_texts(Unsaid)


def test_classes_of_others_may_say_nothing_of_their_fields():
    @dataclasses.dataclass
    class Foreign:
        count: int = -1

    validate_fields(Foreign())


@pytest.mark.parametrize("file", runs.CONFIGS, ids=lambda file: file.stem)
def test_the_help_of_a_config_has_every_field(file):
    config = load(str(file))
    text = format_fields(config, "--config.")
    lines = text.splitlines()
    flags = [line for line in lines if line.startswith("  --config.")]
    names = [flag.strip().partition("=")[0] for flag in flags]
    assert names == [f"--config.{name}" for name, _ in leaf_fields(config)]
    assert not [x for x in lines if len(x) > WIDTH and x not in flags]


def test_the_help_of_a_field_says_unit_range_and_source():
    text = " ".join(format_fields(load("configs/vae.py"), "--config.").split())
    assert (
        "--config.method.kl_weight=1.0 Factor on the divergence from the normal prior; "
        "1 is the evidence bound of a decoder with unit variance; 0 or more [ours: the "
        "paper does not say]" in text
    )
    assert "--config.method.image_size=256 Side of the square input (pixels);" in text
