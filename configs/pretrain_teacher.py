"""E_loc distilled from a classification network, with the published settings.

python -m gcad_jax.convert --arch=mobilenet_v2 --input=WEIGHTS --output=target.npz
python -m gcad_jax.main --config=configs/pretrain_teacher.py --workdir=runs/teacher \
    --config.data.root=FOLDER_OF_PHOTOS --config.target=target.npz

":dense" learns feature maps of whole windows, as the weights that come with the package
did; ":small" does the same for E_loc of the presets ":small", an eighth as wide.
"""

from gcad_jax import presets
from gcad_jax.config import Pretraining


def get_config(preset: str = "") -> Pretraining:
    return presets.teacher(preset)
