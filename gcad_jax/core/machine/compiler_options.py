"""Options of XLA that are set on the compile call, so that no user need know them."""

from collections.abc import Mapping, Sequence

import jax

# With the paper's networks XLA tries out 5,400 kernels for an update, and half a second
# of each passes in an estimate of what collectives and products cost, on which nothing
# of one device depends (docs/results/throughput.md).
_OF_PLATFORM: Mapping[str, Mapping[str, str | bool]] = {
    "gpu": {"xla_gpu_enable_analytical_sol_latency_estimator": False},
}


def compiler_options(platform: str) -> dict[str, str | bool]:
    """What `jax.jit` and `Lowered.compile` take; none on CPUs and TPUs.

    platform: as `jax.Device.platform` has it.
    """
    return dict(_OF_PLATFORM.get(platform, {}))


def options_here(sharing: Sequence[jax.Device] = ()) -> dict[str, str | bool] | None:
    """The options of this process's devices for `jax.jit`; None where there are none.

    sharing: devices that share the images of a call. Of several, the program around
    `jax.jit`'s has the options: JAX refuses them in an inner one.
    """
    if len(sharing) > 1:
        return None
    return compiler_options(jax.devices()[0].platform) or None
