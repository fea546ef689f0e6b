"""A method in float32 and in bfloat16: does the faster arithmetic cost accuracy?

python -m gcad_jax.main --config=configs/study_precision.py:small,circles \
    --workdir=runs/precision

GCAD where no other is named (--config.method=student_teacher; fields of it:
--config.circles.student_teacher.method.epochs=10); five seeds (--config.seeds), each
with the same first weights and order of images in both runs. Data sets and ":small"
behind the colon as in study_benchmark.py, --config.runs and --config.plan too.

WORKDIR/circles/float32 and WORKDIR/circles/bfloat16 are what configs/circles.py makes
with the same seeds and --config.method.precision; runs that were made so are not
repeated.
"""

from gcad_jax.studies.grid.precision import precision_study
from gcad_jax.studies.grid.study import Study


def get_config(preset: str = "") -> Study:
    return precision_study(preset)
