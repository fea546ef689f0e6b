"""What the study of the throughput measures: one class for each kind of row."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

from gcad_jax.studies.throughput.peaks import Peaks
from gcad_jax.studies.throughput.rows import INFERENCE, LATENCY, LOOP, TRAINING
from gcad_jax.training.cost.timing import LoopTiming, PhaseTiming


@dataclasses.dataclass(frozen=True)
class Failure:
    """A row without values. failed: why, such as "out of memory"."""

    failed: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Computation:
    """How well a device is used.

    flops_traced: floating-point operations of one image and one seed, of the program
        before optimization; None where there is no CPU to trace it for.
    mfu, of_convolution: operations a second on a device, as shares of the peaks of a
        product and of a convolution.
    flops_by_hand: of files that version 0.1.0 wrote, where the shares are of these.
    """

    flops_traced: float | None
    mfu: float | None
    of_convolution: float | None
    flops_by_hand: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingResult(PhaseTiming, Computation):
    """The longest phase of a training; the time is that of `PhaseTiming`.

    crossing_bytes: that a device would put into collectives in one update of one seed,
        if devices shared the batch.
    memory_bytes: states, data, frozen part and working memory of a device, as the
        compiler estimates it.
    peak_bytes: that the device saw in use at most, where this row raised it.
    """

    memory_bytes: int
    crossing_bytes: int | None = None
    peak_bytes: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceResult(Computation):
    """All maps of images on the device. memory_bytes: working memory."""

    images_per_second: float
    compile_seconds: float
    memory_bytes: int | None


@dataclasses.dataclass(frozen=True)
class LatencyResult:
    """Seconds of a pass, from images on the host to maps there."""

    passes: int
    mean_seconds: float
    median_seconds: float
    p95_seconds: float
    images_per_second: float


Result: TypeAlias = (
    Failure | TrainingResult | LoopTiming | InferenceResult | LatencyResult
)
RESULTS: Mapping[str, type] = {
    TRAINING: TrainingResult,
    LOOP: LoopTiming,
    INFERENCE: InferenceResult,
    LATENCY: LatencyResult,
}
DERIVED = ("images_per_second", "overhead")  # in the files, too, where they are


@dataclasses.dataclass(frozen=True)
class MeasuredRow:
    """settings: kind, what is varied, and all else that the result depends on."""

    settings: Mapping[str, Any]
    result: Result

    def to_json(self) -> dict[str, Any]:
        """The settings and, under "values", the fields of the result."""
        result = self.result
        derived = {n: getattr(result, n) for n in DERIVED if hasattr(result, n)}
        return {**self.settings, "values": dataclasses.asdict(result) | derived}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "MeasuredRow":
        """Raises KeyError or TypeError for what is no row."""
        settings = dict(row)
        values = settings.pop("values")
        kind = Failure if "failed" in values else RESULTS[row["kind"]]
        known = {field.name for field in dataclasses.fields(kind)} & values.keys()
        return cls(settings, kind(**{name: values[name] for name in known}))


@dataclasses.dataclass(frozen=True)
class StartTiming:
    """Seconds before the first update: for the frozen part and the first weights."""

    prepare_seconds: float
    init_seconds: float


@dataclasses.dataclass(frozen=True)
class StudyResults:
    """What throughput.json holds.

    method: class and fields of the own setting. device: its kind, and versions.
    start: of the first networks that were made; None before there are any.
    """

    method: Mapping[str, Any]
    device: Mapping[str, str]
    peaks: Peaks
    start: StartTiming | None
    rows: tuple[MeasuredRow, ...] = ()

    def of_kind(self, kind: str) -> list[MeasuredRow]:
        """The rows of a kind, in order."""
        return [row for row in self.rows if row.settings["kind"] == kind]

    def to_json(self) -> dict[str, Any]:
        """As a JSON file has it."""
        rows = [row.to_json() for row in self.rows]
        return {**dataclasses.asdict(self), "rows": rows}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "StudyResults":
        """Raises KeyError or TypeError for what is no such file."""
        start = content["start"]
        return cls(
            method=content["method"],
            device=content["device"],
            peaks=Peaks(**content["peaks"]),
            start=StartTiming(**start) if start else None,
            rows=tuple(map(MeasuredRow.from_json, content["rows"])),
        )
