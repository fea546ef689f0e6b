"""SPADE with the paper's settings (Section 5.2), on MVTec LOCO AD.

python -m gcad_jax.main --config=configs/spade.py --workdir=runs/spade \
    --config.data.root=PATH_TO_MVTEC_LOCO_AD

":small" is for two CPU cores: EfficientNet-Lite0, whose weights of ImageNet come with
the installation, and 256 pixels with the aspect kept. Another data set may be named:
":small,circles", ":small,mvtec_ad", ":small,folder".

The paper's backbone needs weights: --config.method.backbone=wide_resnet50_2
--config.method.weights=FILE, a file of `gcad_jax.convert`; without, E_loc serves.
"""

from gcad_jax.config import Experiment, presets
from gcad_jax.methods.spade import SPADE


def get_config(preset: str = "") -> Experiment:
    return presets.baseline(SPADE, preset)
