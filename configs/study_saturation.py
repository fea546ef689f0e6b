"""AU-sPRO of several methods at 10,000 draws of the saturation thresholds.

The paper makes ten (Section 5.4).

python -m gcad_jax.main --config=configs/study_saturation.py --workdir=runs/saturation \
    --config.dataset_base_dir=PATH_TO_MVTEC_LOCO_AD \
    --config.object_names="('pushpins',)" --config.maps="('MAPS_A','MAPS_B')"

MAPS_A/pushpins/test/... are maps in the official layout; --config.workdirs takes runs
of this program with --config.write_maps=True. ":paper" makes ten
draws, ":small" a thousand.
"""

from gcad_jax import checks
from gcad_jax.studies.saturation import SaturationStudy


def get_config(preset: str = "") -> SaturationStudy:
    draws = {"": 10_000, "small": 1_000, "paper": 10}
    checks.one_of("the preset behind the config file", preset, draws)
    return SaturationStudy(num_draws=draws[preset])
