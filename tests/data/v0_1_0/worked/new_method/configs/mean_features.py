"""Mean Features; a data set stands behind the colon, as for the other methods.

python -m gcad_jax.main --config=configs/mean_features.py:circles --workdir=runs/mean
"""

from gcad_jax import presets
from gcad_jax.config import Experiment
from gcad_jax.methods.mean_features import MeanFeatures


def get_config(preset: str = "") -> Experiment:
    _, sets = presets.chosen(preset, ("",))
    return Experiment(data=next(iter(sets.values())), method=MeanFeatures())
