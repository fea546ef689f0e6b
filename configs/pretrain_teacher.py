"""E_loc distilled from a classification network, with the published settings.

python -m gcad_jax.convert --arch=mobilenet_v2 --input=WEIGHTS --output=target.npz
python -m gcad_jax.main --config=configs/pretrain_teacher.py --workdir=runs/teacher \
    --config.data.root=FOLDER_OF_PHOTOS --config.target=target.npz

":dense" learns feature maps of whole windows, as the weights that come with the package
did: 67 and 42 minutes for p = 17 and 33 on two CPU cores with other work beside it, R^2
0.227 and 0.355 on held-out photos. ":small" does the same for E_loc of the presets
":small", an eighth as wide: 5 minutes for p = 17, 0.165 and 0.275 (docs/teacher.md).
"""

from gcad_jax.config import Pretraining, presets


def get_config(preset: str = "") -> Pretraining:
    return presets.teacher(preset)
