"""The Variation Model on the panels.

python -m gcad_jax.main --config=configs/panels.py --workdir=runs/panels \
    --config.data.root=panels
"""

from gcad_jax.config import Experiment
from gcad_jax.data.panels import Panels
from gcad_jax.methods.variation_model import VariationModel


def get_config(preset: str = "") -> Experiment:
    return Experiment(data=Panels(), method=VariationModel(image_size=48))
