"""What a config file returns, and the presets of the config files that come along.

`Experiment` and `Pretraining` are what config files of users construct.
"""

from gcad_jax.config.experiment import Experiment as Experiment
from gcad_jax.config.experiment import Pretraining as Pretraining
