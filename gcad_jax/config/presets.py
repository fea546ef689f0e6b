"""The presets that every config file takes: configs/loco.py:small."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gcad_jax.config.experiment import Experiment, Pretraining
from gcad_jax.core import checks, errors
from gcad_jax.data.circles import Circles
from gcad_jax.data.dataset import DataSet
from gcad_jax.data.folder import Folder
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec_ad import MvtecAd
from gcad_jax.data.photos import Photos
from gcad_jax.methods.autoencoder import AE
from gcad_jax.methods.base import Method
from gcad_jax.methods.closed_form import ClosedForm
from gcad_jax.methods.fanogan import FAnoGAN
from gcad_jax.methods.gcad import GCAD
from gcad_jax.methods.mnad import MNAD
from gcad_jax.methods.spade import SPADE
from gcad_jax.methods.student_teacher import StudentTeacher
from gcad_jax.methods.vae import VAE
from gcad_jax.methods.variation_model import VariationModel
from gcad_jax.models.classifiers.pretrained import IMAGENET
from gcad_jax.pretraining.distillation import Distillation

PAPER, SMALL, THROUGHPUT, DENSE_PRESET = "", "small", "throughput", "dense"
NARROW = "narrow"
BEHIND = "the preset behind the config file"
# Data sets by the name that stands behind the config file of a method.
SMALL_CIRCLES = 600  # training images, as configs/circles.py
LOCO = "loco"
DATA_SETS = {
    LOCO: MvtecLocoAd,
    "mvtec_ad": MvtecAd,
    "circles": Circles,
    "folder": Folder,
}


def gcad(data: DataSet, preset: str) -> Experiment:
    """GCAD on a data set.

    preset: "" for the paper's settings; "throughput" for the same networks in batches
        of 16, for accelerators; "small" for two CPU cores: E_loc is a classification
        network, and what is trained computes at an eighth of the image's side;
        "narrow" for the paper's method there, with narrow networks: "small" of 0.1.0.

    Raises:
      UserError: another preset.
    """
    checks.one_of(BEHIND, preset, (PAPER, SMALL, THROUGHPUT, NARROW))
    if preset == SMALL:
        return Experiment(data=data, method=small(), cache_features=True)
    if preset == NARROW:
        return Experiment(data=data, method=narrow())
    return Experiment(data=data, method=GCAD(batch_size=1 if preset == PAPER else 16))


# Deviates: E_loc, sizes, rates and schedules of these presets are made for two CPU
# cores, and so is A_glo of `small`: a regression of E_glo needs far more updates.
def small() -> GCAD:
    """GCAD for two CPU cores: E_loc is EfficientNet-Lite0, which need not be distilled.

    Its features are computed once, so nothing is augmented. A code of 16 numbers says
    what the image shows as a whole; one linear layer decodes it at every place.
    """
    return GCAD(
        epochs=50,
        batch_size=8,
        E_loc_arch="efficientnet_lite0",
        teacher="imagenet",
        stride=8,
        d_loc=256,
        d_glo=128,
        g=16,
        U_widths=(),
        unet_depth=3,
        A_glo_from="reconstruction",
        R_glo_start=1.0,
        distance="mahalanobis",
        learning_rate=2e-3,
        final_learning_rate=0.01,
        augmented=False,
    )


def narrow() -> GCAD:
    """GCAD scaled down: narrow networks, one receptive field, half the image side.

    E_glo, which is cheap, keeps half of the paper's widths; a rate that decays makes up
    for few steps.
    """
    return GCAD(
        image_size=128,
        epochs=40,
        batch_size=4,
        P=(33,),
        d_loc=32,
        width=1 / 8,
        E_loc_width=1 / 8,
        E_glo_widths=(128, 128, 256, 256, 512),
        U_widths=(256, 256),
        border="edge",
        R_glo_start=0.3,
        skip_end=0.1,
        joint_ramp=0.4,
        learning_rate=2e-3,
        final_learning_rate=0.01,
    )


def circles() -> GCAD:
    """GCAD for the toy circles on two CPU cores.

    E_glo has the paper's widths: it is cheap, and it must learn where the disc is.
    R_glo starts late, when E_glo has learned it. A zero border, black beside the white
    ground, would be the strongest edge of every image; the ground goes on instead.
    """
    return dataclasses.replace(
        narrow(),
        image_size=64,
        epochs=32,
        P=(17,),
        d_loc=16,
        stride=2,
        width=1 / 4,
        unet_depth=3,
        # What was measured; with the weights that ship it has not been.
        teacher="random",
        E_glo_widths=(128, 128, 256, 256, 512),
        R_glo_start=0.5,
        distance="mahalanobis",
        weight_decay=0.0,
    )


def parse_preset(given: str, presets: Sequence[str]) -> tuple[str, dict[str, DataSet]]:
    """Preset and data sets of "small,circles", "small", "circles,loco" or "".

    given: what stands behind the config file: one of `presets` and any names of
        `DATA_SETS`, with commas between; nothing is the paper's settings on MVTec LOCO
        AD.

    Raises:
      UserError: another word, one given twice, or two presets.
    """
    words = given.split(",") if given else []
    for word in words:
        checks.one_of(BEHIND, word, (*filter(None, presets), *DATA_SETS))
    found = [word for word in words if word in presets]
    if len(found) > 1 or len(set(words)) < len(words):
        raise errors.UserError(
            f"{BEHIND} is {given!r}; it may name one preset and each data set once, "
            "such as 'small,circles'."
        )
    preset = (found or [PAPER])[0]
    sets = [word for word in words if word in DATA_SETS] or [LOCO]
    return preset, {name: data_set(name, preset) for name in sets}


def data_set(name: str, preset: str) -> DataSet:
    """A data set by its name in `DATA_SETS`; `small` makes do with fewer circles."""
    if preset == SMALL and DATA_SETS[name] is Circles:
        return Circles(num_train=SMALL_CIRCLES)
    return DATA_SETS[name]()


def run_of(
    kind: type[Method],
    preset: str,
    data: DataSet,
    small_gcad: Callable[[], GCAD] = small,
) -> tuple[Method, bool]:
    """A method for a data set, and whether it caches its features there.

    preset: "" for the paper's settings; "small" for two CPU cores.
    small_gcad: makes GCAD of the preset "small", except for circles.
    """
    on_circles = isinstance(data, Circles)
    if preset != SMALL:
        return kind(), False
    if kind is GCAD:
        method = circles() if on_circles else small_gcad()
        return method, on_circles or not method.augmented
    fields = {**SMALL_FIELDS[kind], **(CIRCLES_FIELDS[kind] if on_circles else {})}
    # Student-Teacher augments nothing, so its teacher describes each image once.
    return kind(**fields), kind is StudentTeacher


def baseline(kind: type[Method], given: str) -> Experiment:
    """A method that the paper compares with: its settings, or those of `SMALL_FIELDS`.

    given: as in `parse_preset`, with one data set.

    Raises:
      UserError: a word that is none, or two data sets.
    """
    preset, sets = parse_preset(given, (PAPER, SMALL))
    if len(sets) > 1:
        raise errors.UserError(
            f"{BEHIND} is {given!r}; a run has one data set. "
            "configs/study_benchmark.py takes several."
        )
    (data,) = sets.values()
    method, cached = run_of(kind, preset, data)
    return Experiment(data=data, method=method, cache_features=cached)


# Deviates: sizes, rates and epochs of these are made for two CPU cores.
_AUTOENCODER = {
    "image_size": 128,
    "epochs": 120,
    "learning_rate": 2e-3,
    "final_learning_rate": 0.01,
}
SMALL_FIELDS: Mapping[type[Method], Mapping[str, Any]] = {
    AE: _AUTOENCODER,
    VAE: _AUTOENCODER,
    FAnoGAN: {
        "epochs": 4,
        "batch_size": 32,
        "encoder_updates": 800,
        "widths": (8, 16, 32, 32),
        "momentum": 0.9,  # few updates: the first values must be forgotten
        "learning_rate": 5e-4,
        "encoder_learning_rate": 5e-4,
    },
    MNAD: {
        "image_size": 128,
        "epochs": 20,
        "width": 1 / 4,
        "learning_rate": 2e-4,
    },
    ClosedForm: {},
    SPADE: {
        "image_size": 256,
        "keep_aspect": True,
        "backbone": "efficientnet_lite0",
        "weights": IMAGENET,
        "standardized": True,
        "stride": 8,
        "K": 20,
    },
    StudentTeacher: {
        "image_size": 128,
        "epochs": 20,
        "batch_size": 4,
        "P": (33,),
        "d_loc": 32,
        "E_loc_width": 1 / 8,
        "border": "edge",
        "learning_rate": 2e-3,
        "final_learning_rate": 0.01,
    },
    VariationModel: {"image_size": 128},
}
# Over those: the toy circles are simple enough for a quarter of their side.
CIRCLES_FIELDS: Mapping[type[Method], Mapping[str, Any]] = {
    AE: {"image_size": 64, "epochs": 60},
    # With a weight of 1 the code stays at the prior once the skips have gone, and every
    # disc is an anomaly.
    VAE: {"image_size": 64, "epochs": 60, "kl_weight": 0.1},
    FAnoGAN: {"epochs": 1, "encoder_updates": 400},
    MNAD: {"image_size": 64, "epochs": 8},
    ClosedForm: {"image_size": 128},
    SPADE: {"image_size": 128, "stride": 4},
    StudentTeacher: {"image_size": 64, "epochs": 6, "P": (17,)},
    VariationModel: {"image_size": 64},
}


# Deviates: see `Distillation`: P sees whole windows, and maps of three of its layers
# are learned at many places at once, which teaches far more in the same time.
DENSE = Distillation(
    batch_size=8,
    grid=17,
    context=16,
    num_steps=4_000,
    target_layers=("stage2", "stage3", "stage5"),
    standardised=True,
    lambda_c=0.0,
    learning_rate=1e-3,
    final_learning_rate=0.01,
)


def teacher(preset: str) -> Pretraining:
    """E_loc from a classification network.

    preset: "" for the published settings; "dense" for those of the weights that come
        with the package; "small" for those of E_loc of the preset `small`.

    Raises:
      UserError: another preset.
    """
    checks.one_of(BEHIND, preset, (PAPER, DENSE_PRESET, SMALL))
    if preset != SMALL:
        # A copy: flags override fields in place.
        method = Distillation() if preset == PAPER else dataclasses.replace(DENSE)
        return Pretraining(data=Photos(), method=method)
    method = dataclasses.replace(
        DENSE, d_loc=32, width=1 / 8, num_steps=12_000, learning_rate=2e-3
    )
    return Pretraining(data=Photos(), method=method, P=(17, 33))
