"""The compiled steps of one training: one program for each phase and call length."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gcad_jax.core.machine.compiler_options import compiler_options
from gcad_jax.core.types import Tree
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.methods.base import Phase, TrainState
from gcad_jax.models.layers.convolution import plain_convolutions
from gcad_jax.training.parallel.batch_layout import BatchLayout
from gcad_jax.training.parallel.layout import Layout
from gcad_jax.training.state import host_device
from gcad_jax.training.step import Resources, StepOptions, make_step


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled step.

    flops: of one update of all seeds and devices, from the program before
        optimization; None where the compiler does not say.
    scratch_bytes: working memory on each device; None likewise.
    """

    phase: Phase
    call: Any
    flops: float | None
    scratch_bytes: int | None


def compiling_line(phase: Phase) -> str:
    """Before the step of a phase is compiled, which shows no progress."""
    return f"compiling   the update of {phase.name}"


def compile_step(
    phase: Phase,
    augmentation: Augmentation,
    options: StepOptions,
    layout: Layout,
    states: TrainState,
    resources: Resources,
    examples: np.ndarray,
) -> Program:
    """Compiles the step of `phase` for examples as `Layout.split` gives, unrun."""
    mapped = layout.map(make_step(phase, augmentation, options))
    lowered = mapped.lower(states, resources, layout.examples_to_device(examples))
    platform = layout.devices[0].platform
    compiled = lowered.compile(compiler_options(platform) or None)
    memory = compiled.memory_analysis()
    return Program(
        phase=phase,
        call=compiled,
        flops=_flops(lowered.cost_analysis(), len(layout.devices)),
        scratch_bytes=getattr(memory, "temp_size_in_bytes", None),
    )


def lower_step(
    phase: Phase,
    augmentation: Augmentation,
    options: StepOptions,
    layout: Layout,
    states: TrainState,
    resources: Resources,
    examples: np.ndarray,
) -> Program:
    """As `compile_step`, traced and not compiled: its operations alone are known."""
    mapped = layout.map(make_step(phase, augmentation, options))
    lowered = mapped.lower(states, resources, layout.examples_to_device(examples))
    flops = _flops(lowered.cost_analysis(), len(layout.devices))
    return Program(phase, None, flops, None)


def traced_flops(
    phase: Phase, augmentation: Augmentation, states: TrainState, resources: Resources
) -> float | None:
    """Of one update of one example and one seed, before optimization.

    For devices whose compiler does not say: lowered for the CPU, and not compiled.

    states, resources: of one seed; shapes suffice. None where there is no CPU.
    """
    examples = jax.ShapeDtypeStruct((1, 1, 1, 1), np.int32)
    step = make_step(phase, augmentation, StepOptions())

    def lower(cpu: jax.Device) -> Any:
        mapped = BatchLayout((cpu,)).map(step)
        return mapped.lower(_shapes(states), _shapes(resources), examples)

    return _count_on_cpu(lower)


def traced_flops_of(function: Callable[..., Tree], *inputs: Tree) -> float | None:
    """The same of a pure function; the shapes of the inputs suffice."""
    return _count_on_cpu(lambda cpu: jax.jit(function).lower(*_shapes(inputs)))


def _count_on_cpu(lower: Callable[[jax.Device], Any]) -> float | None:
    if (cpu := host_device()) is None:
        return None
    # Of the convolutions themselves: other forms have more rows, or fewer operations.
    with jax.default_device(cpu), plain_convolutions():
        return _flops(lower(cpu).cost_analysis(), 1)


def _shapes(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def _flops(cost: Any, num_devices: int) -> float | None:
    # A loop's body is counted once, whatever its length; the program is per device.
    if isinstance(cost, list):
        cost = cost[0] if cost else None
    flops = cost.get("flops") if cost else None
    return flops * num_devices if flops and flops > 0 else None
