"""Many seeds in one program: how far do numbers and rankings move?

python -m gcad_jax.main --config=configs/study_seeds.py:small,circles \
    --workdir=runs/seeds --config.runs="('gcad','student_teacher')"

GCAD alone where no runs are named; eight seeds (--config.seeds). Data sets and ":small"
behind the colon as in study_benchmark.py, --config.plan too.
"""

from gcad_jax.studies.grid.seeds import seed_study
from gcad_jax.studies.grid.study import Study


def get_config(preset: str = "") -> Study:
    return seed_study(preset)
