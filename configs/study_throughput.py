"""How fast a method trains and scores images on this machine, and what that costs.

python -m gcad_jax.main --config=configs/study_throughput.py --workdir=runs/throughput

Nothing to download: images and networks are random. Without a preset it is GCAD with
the paper's networks, in batches of 16 and bfloat16, for accelerators; ":small" is the
preset for two CPU cores. A command that was stopped goes on where it was.
"""

from gcad_jax.studies.throughput import config
from gcad_jax.studies.throughput.config import ThroughputStudy


def get_config(preset: str = "") -> ThroughputStudy:
    return config.throughput(preset)
