"""GCAD on MVTec LOCO AD with the paper's settings (Section 5).

python -m gcad_jax.main --config=configs/loco.py --workdir=runs/loco \
    --config.data.root=PATH_TO_MVTEC_LOCO_AD

The paper's settings have not been run: its networks have, for 80 epochs on an H100, on
the juice bottles at a quarter of their side: image AU-ROC 0.844 structural, 0.955
logical. ":small", for two CPU cores, has EfficientNet-Lite0 for E_loc: 0.957 and 0.971
(docs/results/juice_bottle.md).
"""

from gcad_jax.config import Experiment, presets
from gcad_jax.data.loco import MvtecLocoAd


def get_config(preset: str = "") -> Experiment:
    return presets.gcad(MvtecLocoAd(), preset)
