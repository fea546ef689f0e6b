"""Which measurements the study of the throughput makes."""

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gcad_jax.core.axes import BATCH, SEED
from gcad_jax.methods.base import Method
from gcad_jax.studies.throughput.config import ThroughputStudy
from gcad_jax.training.step import UNROLL, StepOptions

TRAINING, INFERENCE, LATENCY = "training", "inference", "latency"
LOOP = "loop"
OWN = "own setting"


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement.

    kind: TRAINING, LOOP, INFERENCE or LATENCY. varied: what differs from the own
    setting. method: with its fields changed. step, num_seeds: of a training.
    batch_size: images of an update, or of a call. num_devices, layout: of a training.
    """

    kind: str
    varied: str
    method: Method
    batch_size: int
    step: StepOptions | None = None
    num_seeds: int = 1
    num_devices: int = 1
    layout: str = BATCH


def rows(config: ThroughputStudy, num_devices: int = 1) -> tuple[Row, ...]:
    """All rows; of each kind the own setting is first.

    num_devices: of this machine.
    """
    trains = bool(config.method.phases(1))
    training = tuple(_training_rows(config, num_devices)) if trains else ()
    return (*training, *_inference_rows(config))


def _training_rows(config: ThroughputStudy, num_devices: int) -> Iterator[Row]:
    batch, steps_per_call = config.method.batch_size, config.own_steps_per_call
    own = Row(TRAINING, OWN, config.method, batch, StepOptions(UNROLL, steps_per_call))

    def with_batch(varied: str, size: int, **changes: Any) -> Row:
        method = _change(config.method, batch_size=size)
        return replace(own, varied=varied, method=method, batch_size=size, **changes)

    yield from _own_and_variations(config, own)
    for size in config.batch_sizes:
        if size != batch:
            yield with_batch(f"batch_size {size}", size)
    for calls in config.steps_per_call:
        if calls != steps_per_call:
            step = StepOptions(UNROLL, calls)
            yield replace(own, varied=f"steps_per_call {calls}", step=step)
    for count in config.seed_counts:
        for how in config.map_seeds:
            if count > 1:
                step, name = StepOptions(how, steps_per_call), f"{count} seeds, {how}"
                yield replace(own, varied=name, step=step, num_seeds=count)
    # As much for each device as the own setting has for one.
    counts = [1 << i for i in range(1, num_devices.bit_length())]
    for count in dict.fromkeys([*counts, num_devices]):
        if count > 1 and config.several_devices:
            name = f"{count} devices, "
            yield with_batch(name + BATCH, count * batch, num_devices=count)
            of_seeds = replace(own, num_seeds=count, num_devices=count, layout=SEED)
            yield replace(of_seeds, varied=name + SEED)
    yield replace(own, kind=LOOP)


def _inference_rows(config: ThroughputStudy) -> Iterator[Row]:
    """Of images a second, and then of the latency."""
    own_size = config.method.inference_batch_size
    own = Row(INFERENCE, OWN, config.method, own_size)
    yield from _own_and_variations(config, own)
    others = [size for size in config.inference_batch_sizes if size != own_size]
    for kind, sizes in ((INFERENCE, others), (LATENCY, config.latency_batch_sizes)):
        for size in sizes:
            method = _change(config.method, inference_batch_size=size)
            yield Row(kind, f"batch {size}", method, size)


def _own_and_variations(config: ThroughputStudy, own: Row) -> Iterator[Row]:
    """The own setting, then with other precisions and receptive fields."""
    yield own
    changes: list[tuple[str, dict[str, Any]]]
    changes = [(name, {"precision": name}) for name in config.precisions]
    changes += [(f"P ({p},)", {"P": (p,)}) for p in config.scales]
    for varied, change in changes:
        method = _change(config.method, **change)
        # The same where the method lacks the field, or has this value already.
        if vars(method) != vars(config.method):
            yield replace(own, varied=varied, method=method)


def _change(method: Any, **changes: Any) -> Method:
    """The method with other values of those fields that it has."""
    names = {field.name for field in dataclasses.fields(method)}
    known = {name: value for name, value in changes.items() if name in names}
    return replace(method, **known)
