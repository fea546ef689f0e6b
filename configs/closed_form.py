"""The closed form of GCAD: a minute from images to report on two CPU cores.

python -m gcad_jax.main --config=configs/closed_form.py --workdir=runs/closed_form \
    --config.data.root=PATH_TO_MVTEC_LOCO_AD

Another data set may be named behind a colon: ":folder" for own images, ":mvtec_ad",
":circles". Its weights of ImageNet come with the installation.

Where nothing logical can be wrong: --config.method.w=0. Another backbone needs
weights: --config.method.backbone=mobilenet_v2 --config.method.weights=FILE, a file of
`gcad_jax.convert`.
"""

from gcad_jax.config import Experiment, presets
from gcad_jax.methods.closed_form import ClosedForm


def get_config(preset: str = "") -> Experiment:
    return presets.baseline(ClosedForm, preset)
