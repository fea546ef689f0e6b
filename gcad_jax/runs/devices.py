"""What a run computes on: devices and their layout, and a sentence about them."""

import platform

import jax

from gcad_jax.config.experiment import Experiment, Pretraining
from gcad_jax.core import multihost
from gcad_jax.core.version import __version__
from gcad_jax.training.options import LoopOptions
from gcad_jax.training.parallel.batch_layout import BatchLayout
from gcad_jax.training.parallel.choose_layout import choose_layout
from gcad_jax.training.parallel.layout import Layout
from gcad_jax.training.step import UNROLL, VMAP, StepOptions


def loop_options(config: Experiment | Pretraining) -> LoopOptions:
    """Devices and layout of the steps; raises UserError where they do not fit."""
    available = jax.devices()
    layout: Layout
    if isinstance(config, Experiment) and not config.method.phases(1):
        # Nothing is trained, so there is nothing to share out.
        layout = BatchLayout((jax.local_devices()[0],))
    else:
        layout = choose_layout(
            config.layout,
            config.method.batch_size,
            len(config.seeds),
            config.num_devices,
            available,
        )
    map_seeds = UNROLL if available[0].platform == "cpu" else VMAP
    return LoopOptions(
        layout=layout,
        step=StepOptions(config.map_seeds or map_seeds, config.steps_per_call),
        checkpoint_minutes=config.checkpoint_minutes,
        log_every=config.log_every,
        cache_features=isinstance(config, Experiment) and config.cache_features,
    )


def hardware_sentence(options: LoopOptions, minutes: float) -> str:
    """Devices, versions and time, for a report."""
    devices = options.layout.devices
    hosts = multihost.num_processes()
    processes = f" of {hosts} processes" if hosts > 1 else ""
    return (
        f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"
        f"{processes}, Python {platform.python_version()}, jax {jax.__version__}, "
        f"gcad_jax {__version__}; the command took {minutes:.1f} minutes, without "
        "earlier ones that it continued."
    )
