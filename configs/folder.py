"""GCAD on your own images: a folder of good ones is enough.

python -m gcad_jax.main --config=configs/folder.py:small --workdir=runs/mine \
    --config.data.root=FOLDER
"""

from gcad_jax.config import Experiment, presets
from gcad_jax.data.folder import Folder


def get_config(preset: str = "") -> Experiment:
    return presets.gcad(Folder(), preset)
