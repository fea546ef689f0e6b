"""Which measurements the study of the throughput makes."""

import dataclasses
from collections.abc import Iterator, Mapping
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
    return (*training, *_inference_rows(config), *_latency_rows(config))


def _training_rows(config: ThroughputStudy, num_devices: int) -> Iterator[Row]:
    batch, steps_per_call = config.method.batch_size, config.own_steps_per_call
    own = Row(TRAINING, OWN, config.method, batch, StepOptions(UNROLL, steps_per_call))

    def with_batch(varied: str, size: int, **changes: Any) -> Row:
        method = _change(config, batch_size=size)
        return replace(own, varied=varied, method=method, batch_size=size, **changes)

    yield own
    for name, changes in _variations(config):
        yield replace(own, varied=name, method=_change(config, **changes))
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
    batch = config.method.inference_batch_size
    own = Row(INFERENCE, OWN, config.method, batch)
    yield own
    for name, changes in _variations(config):
        yield replace(own, varied=name, method=_change(config, **changes))
    for size in config.inference_batch_sizes:
        if size != batch:
            method = _change(config, inference_batch_size=size)
            yield Row(INFERENCE, f"batch {size}", method, size)


def _latency_rows(config: ThroughputStudy) -> Iterator[Row]:
    for size in config.latency_batch_sizes:
        method = _change(config, inference_batch_size=size)
        yield Row(LATENCY, f"batch {size}", method, size)


def _variations(config: ThroughputStudy) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What training and inference share: precision and receptive fields."""
    if config.has("precision"):
        for precision in config.precisions:
            if precision != config.method.precision:  # type: ignore[attr-defined]
                yield precision, {"precision": precision}
    if config.has("P"):
        for p in config.scales:
            if (p,) != config.method.P:  # type: ignore[attr-defined]
                yield f"P ({p},)", {"P": (p,)}


def _change(config: ThroughputStudy, **changes: Any) -> Method:
    """The method with other values of those fields that it has."""
    known = {name: value for name, value in changes.items() if config.has(name)}
    return replace(config.method, **known)  # type: ignore[type-var]
