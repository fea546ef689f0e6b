"""GCAD on MVTec LOCO AD with the paper's settings (Section 5).

python -m gcad_jax.main --config=configs/loco.py --workdir=runs/loco \
    --config.data.root=PATH_TO_MVTEC_LOCO_AD

The paper's settings have not been run: no accelerator was at hand. ":small" on two
CPU cores takes 9 minutes for the juice bottles at a quarter of their side: image
AU-ROC 0.603 structural, 0.802 logical (docs/results/juice_bottle.md).
"""

from gcad_jax.config import Experiment, presets
from gcad_jax.data.loco import MvtecLocoAd


def get_config(preset: str = "") -> Experiment:
    return presets.gcad(MvtecLocoAd(), preset)
