"""The presets that every config file takes: configs/loco.py:small."""

from gcad_jax import checks
from gcad_jax.config import Experiment
from gcad_jax.data.category import DataSet
from gcad_jax.methods.gcad import GCAD

PAPER, SMALL, THROUGHPUT = "", "small", "throughput"


def gcad(data: DataSet, preset: str) -> Experiment:
    """GCAD on a data set.

    preset: "" for the paper's settings; "throughput" for the same networks in batches
        of 16, for accelerators; "small" for two CPU cores: narrow networks, one
        receptive field, half the image side.

    Raises:
      UserError: another preset.
    """
    checks.one_of(
        "the preset behind the config file", preset, (PAPER, SMALL, THROUGHPUT)
    )
    if preset == SMALL:
        return Experiment(data=data, method=small())
    if preset == THROUGHPUT:
        return Experiment(data=data, method=GCAD(batch_size=16))
    return Experiment(data=data, method=GCAD())


def small() -> GCAD:
    """GCAD scaled down for two CPU cores; a rate that decays makes up for few steps."""
    return GCAD(
        image_size=128,
        epochs=60,
        batch_size=4,
        P=(33,),
        d_loc=32,
        width=1 / 8,
        learning_rate=2e-3,
        final_learning_rate=0.01,
    )
