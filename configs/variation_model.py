"""The Variation Model with the paper's settings (Section 5.2), on MVTec LOCO AD.

python -m gcad_jax.main --config=configs/variation_model.py --workdir=runs/vm \
    --config.data.root=PATH_TO_MVTEC_LOCO_AD

":small" is for two CPU cores, and another data set may be named: ":small,circles",
":small,mvtec_ad", ":small,folder".

--config.method.alignment=rigid aligns the images, as the paper does for juice bottles
and pushpins.
"""

from gcad_jax.config import Experiment, presets
from gcad_jax.methods.variation_model import VariationModel


def get_config(preset: str = "") -> Experiment:
    return presets.baseline(VariationModel, preset)
