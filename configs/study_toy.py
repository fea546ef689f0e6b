"""Student-Teacher, VAE and GCAD on the toy circles: Fig. 1 of the paper.

python -m gcad_jax.main --config=configs/study_toy.py:small --workdir=runs/toy

Nothing to download. Without ":small" the methods have the paper's sizes, for
accelerators.
"""

from gcad_jax.studies.grid.benchmark import toy_study
from gcad_jax.studies.grid.study import Study


def get_config(preset: str = "") -> Study:
    return toy_study(preset)
