"""The methods that studies of runs compare, with the sizes of a preset."""

from collections.abc import Callable, Mapping
from typing import Any

from gcad_jax.config import presets
from gcad_jax.config.presets import PAPER, SMALL
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
from gcad_jax.studies.grid.study import Cell, Study, make_group, make_study

# In the order of the paper's tables; what the paper does not have is behind.
METHODS: Mapping[str, type[Method]] = {
    "variation_model": VariationModel,
    "fanogan": FAnoGAN,
    "mnad": MNAD,
    "autoencoder": AE,
    "vae": VAE,
    "spade": SPADE,
    "student_teacher": StudentTeacher,
    "gcad": GCAD,
    "closed_form": ClosedForm,
}


def study_of_methods(
    kind: type[Study],
    given: str,
    methods: Mapping[str, type[Method]] = METHODS,
    small_gcad: Callable[[], GCAD] = presets.small,
    **fields: Any,
) -> Study:
    """A study with a cell for each method on each data set.

    given: preset and data sets, as in `config.presets.parse_preset`.
    small_gcad: as in `config.presets.run_of`.
    fields: of the study, where they are not its defaults.

    Raises:
      UserError: a word in `given` that is none.
    """
    preset, sets = presets.parse_preset(given, (PAPER, SMALL))
    groups = {}
    for dataset, data in sets.items():
        cells = {}
        for name, method_class in methods.items():
            method, cached = presets.run_of(method_class, preset, data, small_gcad)
            cells[name] = Cell(method=method, cache_features=cached)
        groups[dataset] = make_group(data, cells)
    return make_study(kind, groups, **fields)
