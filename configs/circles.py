"""GCAD on the toy circles of Appendix A: nothing to download, made for a laptop.

python -m gcad_jax.main --config=configs/circles.py --workdir=runs/circles

4 to 10 minutes on two CPU cores: image AU-ROC 0.887 structural, 1.000 logical; with
--config.epochs=96 18 minutes, 0.931 and 1.000 (docs/results/circles.md).
"""

from gcad_jax.config import Experiment, presets
from gcad_jax.core import checks
from gcad_jax.data.circles import Circles


def get_config(preset: str = "") -> Experiment:
    checks.one_of("the preset behind the config file", preset, ("", "small", "paper"))
    if preset == "paper":
        return presets.gcad(Circles(), presets.PAPER)
    # Nothing is augmented, so the features of 600 images are computed once and kept.
    return Experiment(
        data=Circles(num_train=presets.SMALL_CIRCLES),
        method=presets.circles(),
        cache_features=True,
    )
