"""AU-sPRO of several methods at 10,000 draws of the saturation thresholds.

The paper makes ten (Section 5.4).

python -m gcad_jax.main --config=configs/study_saturation.py --workdir=runs/saturation \
    --config.workdirs="('runs/a','runs/b')"

compares runs of this program, made with --config.write_maps=True, on whatever data
set they have in common; every seed counts as a method. Maps of any framework, in the
official layout MAPS_A/pushpins/test/..., are added by --config.maps="('MAPS_A',)";
alone they need --config.dataset_base_dir=PATH_TO_MVTEC_LOCO_AD, too.

":paper" makes ten draws, ":small" a thousand. Ten sets of 296 maps of 200 x 400 pixels
take one and a half minutes on two CPU cores, of which the draws take 0.7 s
(docs/results/saturation.md).
"""

from gcad_jax.core import checks
from gcad_jax.studies.saturation.config import SaturationStudy


def get_config(preset: str = "") -> SaturationStudy:
    draws = {"": 10_000, "small": 1_000, "paper": 10}
    checks.one_of("the preset behind the config file", preset, draws)
    return SaturationStudy(num_draws=draws[preset])
