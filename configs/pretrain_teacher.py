"""E_loc distilled from a classification network, with the published settings.

python -m gcad_jax.convert --arch=mobilenet_v2 --input=WEIGHTS --output=target.npz
python -m gcad_jax.main --config=configs/pretrain_teacher.py --workdir=runs/teacher \
    --config.data.root=FOLDER_OF_PHOTOS --config.target=target.npz

":small" is for two CPU cores: E_loc of the presets ":small", an eighth as wide.
"""

from gcad_jax import checks, presets
from gcad_jax.config import Pretraining
from gcad_jax.data.photos import Photos
from gcad_jax.pretraining.distillation import Distillation


def get_config(preset: str = "") -> Pretraining:
    checks.one_of("the preset behind the config file", preset, ("", "small"))
    if preset == "small":
        return presets.small_teacher()
    return Pretraining(data=Photos(), method=Distillation())
