"""All nine methods side by side: Tables 3, 5 to 9 of the paper, which has eight.

python -m gcad_jax.main --config=configs/study_benchmark.py --workdir=runs/benchmark \
    --config.loco.data.root=PATH_TO_MVTEC_LOCO_AD --config.seeds="(0,1,2,3,4)"

Behind the colon stand data sets, with commas between (loco when none is named,
mvtec_ad, circles, folder), and ":small" for two CPU cores:

python -m gcad_jax.main --config=configs/study_benchmark.py:small,circles \
    --workdir=runs/benchmark --config.runs="('student_teacher','gcad')"

Every run is a workdir of its own, WORKDIR/circles/gcad; what is finished is skipped.
--config.plan=True says what would run and how long it would take, and stops.
"""

from gcad_jax.studies.grid.benchmark import benchmark_study
from gcad_jax.studies.grid.study import Study


def get_config(preset: str = "") -> Study:
    return benchmark_study(preset)
