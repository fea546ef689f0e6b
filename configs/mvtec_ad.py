"""GCAD on MVTec AD with the settings of Section 6, those of MVTec LOCO AD.

python -m gcad_jax.main --config=configs/mvtec_ad.py --workdir=runs/mvtec_ad \
    --config.data.root=PATH_TO_MVTEC_AD
"""

from gcad_jax.config import Experiment, presets
from gcad_jax.data.mvtec_ad import MvtecAd


def get_config(preset: str = "") -> Experiment:
    return presets.gcad(MvtecAd(), preset)
