"""What a run computes on: devices and their layout, compiled programs, a sentence."""

import os
import platform

import jax
from etils import epath

from gcad_jax.config.experiment import Experiment, Pretraining
from gcad_jax.core import multihost
from gcad_jax.core.paths import is_local
from gcad_jax.core.version import __version__
from gcad_jax.training.options import LoopOptions
from gcad_jax.training.parallel.batch_layout import BatchLayout
from gcad_jax.training.parallel.choose_layout import choose_layout
from gcad_jax.training.parallel.layout import Layout
from gcad_jax.training.step import UNROLL, VMAP, StepOptions


def set_compilation_cache(folder: epath.Path) -> None:
    """Keeps compiled programs in `folder`: a resumed run need not compile again."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder / ".programs"))
    if not is_local(folder):
        # XLA itself, which would keep tuned kernels of GPUs there, knows disks alone.
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


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
