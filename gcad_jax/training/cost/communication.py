"""What crosses between the devices that share a batch, counted off the traced update.

No second device is needed for it, so that one can know before renting many.
"""

from typing import Any

import jax
import numpy as np
from jax.extend import core

from gcad_jax.core.axes import BATCH
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.methods.base import Phase, TrainState
from gcad_jax.training.input_pipeline import InputPipeline
from gcad_jax.training.parallel.layout import Layout
from gcad_jax.training.step import Resources, StepOptions, make_step

# Collectives over an axis by the names of their primitives.
_CROSSING = (
    *("psum", "pmax", "pmin", "all_gather", "all_to_all", "ppermute"),
    *("reduce_scatter", "ragged_all_to_all"),
)


def crossing_bytes(
    phase: Phase,
    augmentation: Augmentation,
    states: TrainState,
    resources: Resources,
    examples: Any,
) -> int:
    """Bytes that each device puts into collectives in one update of one seed.

    Gradients, statistics of batch norms, a memory, and the logged losses; a ring
    all-reduce sends almost twice as many. Of branches the one with most bytes counts;
    a while loop counts once, as nobody knows how often it runs.

    states, resources: of one seed; shapes suffice. examples: (1, 1, b, ...)
        likewise, rows of the data set or images.
    """
    step = make_step(phase, augmentation, StepOptions())
    # The size of the axis changes no shape that crosses it.
    make_jaxpr = jax.make_jaxpr(step, axis_env=[(BATCH, 2)])
    return _count_bytes(make_jaxpr(states, resources, examples))


def crossing_line(
    phase: Phase,
    pipeline: InputPipeline,
    layout: Layout,
    states: TrainState,
    resources: Resources,
) -> str:
    """What the devices of a layout that splits batches exchange in a phase.

    states, resources: of all seeds, as a program takes them.
    """
    one_seed = jax.eval_shape(lambda: jax.tree.map(lambda x: x[:1], states))
    examples = pipeline.take(0, 1, layout)[0][:, :1]  # of one device and one seed
    crossing = crossing_bytes(
        phase, pipeline.augmentation, one_seed, resources, examples
    )
    return (
        f"crossing    {crossing / 1e6:,.4g} MB of each device in an update of a "
        f"seed ({phase.name})"
    )


def _count_bytes(jaxpr: Any) -> int:
    total = 0
    # From jax 0.11 on there is one class for those with constants and without.
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name = equation.primitive.name
        if name.startswith(_CROSSING):
            operands = [operand.aval for operand in equation.invars]
            total += sum(x.size * np.dtype(x.dtype).itemsize for x in operands)
        # Bodies of loops, branches and called functions.
        inner = [
            _count_bytes(value)
            for value in jax.tree.leaves(equation.params)
            if isinstance(value, (core.ClosedJaxpr, core.Jaxpr))
        ]
        if name == "cond":
            total += max(inner, default=0)
        elif name == "scan":
            total += equation.params["length"] * sum(inner)
        else:
            total += sum(inner)
    return total
