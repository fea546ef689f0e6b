"""Which measurements the study of the throughput makes."""

import dataclasses
from collections.abc import Iterator, Mapping
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
    training = tuple(_training(config, num_devices)) if trains else ()
    return (*training, *_inference(config), *_latency(config))


def _training(config: ThroughputStudy, num_devices: int) -> Iterator[Row]:
    steps_per_call = config.own_steps_per_call
    own = StepOptions(UNROLL, steps_per_call)
    batch = config.method.batch_size

    def row(
        varied: str, step: StepOptions = own, seeds: int = 1, **changes: Any
    ) -> Row:
        size = changes.get("batch_size", batch)
        return Row(TRAINING, varied, _changed(config, changes), size, step, seeds)

    yield row(OWN)
    for name, changes in _variations(config):
        yield row(name, **changes)
    for size in config.batch_sizes:
        if size != batch:
            yield row(f"batch_size {size}", batch_size=size)
    for calls in config.steps_per_call:
        if calls != steps_per_call:
            yield row(f"steps_per_call {calls}", StepOptions(UNROLL, calls))
    for count in config.seed_counts:
        for how in config.map_seeds:
            if count > 1:
                step = StepOptions(how, steps_per_call)
                yield row(f"{count} seeds, {how}", step, count)

    # As much for each device as the own setting has for one.
    counts = [1 << i for i in range(1, num_devices.bit_length())]
    for count in dict.fromkeys([*counts, num_devices]):
        if count > 1 and config.several_devices:
            method = _changed(config, {"batch_size": count * batch})
            name = f"{count} devices, "
            where: tuple = (own, 1, count, BATCH)
            yield Row(TRAINING, name + BATCH, method, count * batch, *where)
            where = (own, count, count, SEED)
            yield Row(TRAINING, name + SEED, config.method, batch, *where)
    yield Row(LOOP, OWN, config.method, batch, own)


def _inference(config: ThroughputStudy) -> Iterator[Row]:
    batch = config.method.inference_batch_size

    def row(varied: str, size: int = batch, **changes: Any) -> Row:
        changes = {**changes, "inference_batch_size": size}
        return Row(INFERENCE, varied, _changed(config, changes), size)

    yield row(OWN)
    for name, changes in _variations(config):
        yield row(name, **changes)
    for size in config.inference_batch_sizes:
        if size != batch:
            yield row(f"batch {size}", size)


def _latency(config: ThroughputStudy) -> Iterator[Row]:
    for size in config.latency_batch_sizes:
        method = _changed(config, {"inference_batch_size": size})
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


def _changed(config: ThroughputStudy, changes: Mapping[str, Any]) -> Method:
    known = {name: value for name, value in changes.items() if config.has(name)}
    return dataclasses.replace(config.method, **known)  # type: ignore[type-var]
