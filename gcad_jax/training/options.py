"""How and where a training runs, and what it leaves."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from etils import epath

from gcad_jax.core.types import Tree
from gcad_jax.methods.base import Learned
from gcad_jax.training.parallel.layout import Layout
from gcad_jax.training.step import StepOptions


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How training is run; none of it changes what is learned.

    layout: what each device has. step: how the step is written there.
    checkpoint_minutes: between saves. log_every: steps between rows of metrics.jsonl;
    several processes agree as often on whether to save or to stop. cache_features: keep
    what the frozen part says of each training image, where images are not augmented.
    """

    layout: Layout
    step: StepOptions
    checkpoint_minutes: float = 5.0
    log_every: int = 50
    cache_features: bool = False

    @property
    def must_wait(self) -> bool:
        """Fake CPU devices abort when the host runs ahead of them."""
        devices = self.layout.devices
        return len(devices) > 1 and devices[0].platform == "cpu"


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What one training is handed from the job that it is part of.

    seeds: one model each, in one program. folder: for checkpoints, metrics and the
    frozen part. config: as JSON, stored in the checkpoints. print_line: called with
    each line for the terminal.
    """

    seeds: Sequence[int]
    folder: epath.Path
    options: LoopOptions
    config: dict[str, Any]
    print_line: Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a training leaves on this process.

    frozen: shared by all seeds. places: among the seeds, of those that this process
    has; alone, and where every device has every seed, all of them. learned: their
    networks, in this order.
    """

    frozen: Tree
    places: range
    learned: tuple[Learned, ...]
