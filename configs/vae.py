"""VAE with the paper's settings (Section 5.2), on MVTec LOCO AD.

python -m gcad_jax.main --config=configs/vae.py --workdir=runs/vae \
    --config.data.root=PATH_TO_MVTEC_LOCO_AD

":small" is for two CPU cores, and another data set may be named: ":small,circles",
":small,mvtec_ad", ":small,folder".
"""

from gcad_jax.config import Experiment, presets
from gcad_jax.methods.vae import VAE


def get_config(preset: str = "") -> Experiment:
    return presets.baseline(VAE, preset)
