"""What is about to run, as lines that are printed before it runs."""

import collections
from collections.abc import Sequence

import jax
import numpy as np

from gcad_jax.core import multihost
from gcad_jax.core.axes import SEED
from gcad_jax.core.console import pluralize
from gcad_jax.core.types import Tree
from gcad_jax.data.dataset import KINDS, Category
from gcad_jax.data.image_size import size_text
from gcad_jax.methods.base import TrainState
from gcad_jax.training.compilation import Program
from gcad_jax.training.parallel.layout import Layout
from gcad_jax.training.step import Resources


def count_parameters(tree: Tree) -> int:
    """Number of scalars in a tree."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def num_bytes(tree: Tree) -> int:
    """Memory of a tree's arrays."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def data_lines(category: Category) -> list[str]:
    """Counts, sizes and notes of the data."""
    kinds = collections.Counter(image.kind for image in category.test_images)
    tests = ", ".join(
        f"{kinds[kind]} {kind.removesuffix('_anomalies')}" for kind in KINDS
    )
    height, width = category.image_size
    order = " (width x height)" if height != width else ""
    return [
        f"data        {category.dataset}/{category.name}, zoomed to "
        f"{size_text(category.image_size)}{order}",
        f"            train {len(category.train)}, validation "
        f"{len(category.validation)}, test {tests}",
        *(f"            {note}" for note in category.notes),
    ]


def model_lines(states: TrainState, resources: Resources, num_seeds: int) -> list[str]:
    """Parameters of one seed."""
    learned = {
        name: count_parameters(tree) // num_seeds
        for name, tree in states.learned.params.items()
    }
    lines = [f"frozen      {count_parameters(resources.frozen):,} parameters"]
    lines.append(f"trained     {sum(learned.values()):,} parameters a seed")
    lines += [f"            {name:<10} {count:>12,}" for name, count in learned.items()]
    return lines


def cost_lines(
    programs: Sequence[Program],
    states: TrainState,
    resources: Resources,
    batch_size: int,
    num_seeds: int,
    layout: Layout,
) -> list[str]:
    """Steps and FLOPs of each phase, and the memory of a device."""
    platform, num_available = jax.devices()[0].platform, len(jax.devices())
    count = len(layout.devices)
    devices = pluralize(count, f"{platform} device")
    if num_available > count:  # the others stay idle
        devices = f"{count} of {pluralize(num_available, f'{platform} device')}"
    if multihost.num_processes() > 1:
        devices += f" of {multihost.num_processes()} processes"
    seeds, batch = pluralize(num_seeds, "seed"), f"batch {batch_size}"
    if layout.kind == SEED:
        lines = [f"layout      {seeds} over {devices}, {batch} each"]
    else:
        lines = [f"layout      {seeds}, {batch} over {devices}"]
    for program in programs:
        flops = f", {program.flops / 1e9:,.1f} GFLOP a step" if program.flops else ""
        name, steps = program.phase.name, program.phase.num_steps
        lines.append(f"phase       {name}: {steps:,} steps{flops}")
    scratch = max(program.scratch_bytes or 0 for program in programs)
    held = num_bytes(states) // layout.num_seed_shards
    total = held + num_bytes(resources) + scratch
    lines.append(
        f"memory      about {total / 2**20:,.0f} MiB a device: state "
        f"{held / 2**20:,.0f}, data and frozen "
        f"{num_bytes(resources) / 2**20:,.0f}, working {scratch / 2**20:,.0f}"
    )
    return lines
