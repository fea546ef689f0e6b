"""GCAD with one setting changed at a time: Fig. 12 and 14 of the paper.

python -m gcad_jax.main --config=configs/study_ablations.py --workdir=runs/ablations \
    --config.loco.data.root=PATH_TO_MVTEC_LOCO_AD

g, receptive fields, branches, regression against reconstruction, d_glo, and what is
distilled. Values: --config.g="(8,32)"; any other field of all runs:
--config.loco.gcad.method.width=0.5. Data sets and ":small" behind the colon as in
study_benchmark.py, --config.runs and --config.plan too.
"""

from gcad_jax.studies.grid.ablations import ablation_study
from gcad_jax.studies.grid.study import Study


def get_config(preset: str = "") -> Study:
    return ablation_study(preset)
