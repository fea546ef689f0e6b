"""GCAD on MVTec LOCO AD with the paper's settings (Section 5).

python -m gcad_jax.main --config=configs/loco.py --workdir=runs/loco \
    --config.data.root=PATH_TO_MVTEC_LOCO_AD
"""

from gcad_jax import presets
from gcad_jax.config import Experiment
from gcad_jax.data.loco import MvtecLocoAd


def get_config(preset: str = "") -> Experiment:
    return presets.gcad(MvtecLocoAd(), preset)
