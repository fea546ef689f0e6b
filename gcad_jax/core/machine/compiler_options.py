"""Options of XLA that are set on the compile call, so that no user need know them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jaxlib.version

# With the paper's networks XLA tries out 5,400 kernels for an update, and half a second
# of each passes in an estimate of what collectives and products cost, on which nothing
# of one device depends (docs/results/throughput.md).
_OF_PLATFORM: Mapping[str, Mapping[str, str | bool]] = {
    "gpu": {"xla_gpu_enable_analytical_sol_latency_estimator": False},
}
# XLA has two ways to compile fused operations for a CPU. The newer one takes twice as
# long, for programs that run no faster (docs/results/cpu_forms.md). From jaxlib 0.11 on
# there is no other.
if jaxlib.version.__version_info__ < (0, 11):
    _OF_PLATFORM = {**_OF_PLATFORM, "cpu": {"xla_cpu_use_fusion_emitters": False}}


def compiler_options(platform: str) -> dict[str, str | bool]:
    """What `jax.jit` and `Lowered.compile` take; none on TPUs.

    platform: as `jax.Device.platform` has it.
    """
    return dict(_OF_PLATFORM.get(platform, {}))


def jit_here(function: Callable[..., Any], sharing: Sequence[jax.Device] = ()) -> Any:
    """`jax.jit` with the options of this process's devices.

    For functions that are called by themselves: JAX refuses options of one that is
    traced within another. sharing: as in `options_here`.
    """
    return jax.jit(function, compiler_options=options_here(sharing))


def options_here(sharing: Sequence[jax.Device] = ()) -> dict[str, str | bool] | None:
    """The options of this process's devices for `jax.jit`; None where there are none.

    sharing: devices that share the images of a call. Of several, the program around
    `jax.jit`'s has the options: JAX refuses them in an inner one.
    """
    if len(sharing) > 1:
        return None
    return compiler_options(jax.devices()[0].platform) or None
