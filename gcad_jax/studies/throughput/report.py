"""throughput.md: what the study of the throughput measured, as tables."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from gcad_jax.reporting.tables import NONE, markdown_table
from gcad_jax.studies.throughput.peaks import Peaks
from gcad_jax.studies.throughput.results import (
    Failure,
    MeasuredRow,
    StudyResults,
    TrainingResult,
)
from gcad_jax.studies.throughput.rows import INFERENCE, LATENCY, LOOP, OWN, TRAINING
from gcad_jax.training.cost.timing import LoopTiming

WIDTH = 80
FAILED = "does not fit"


def markdown(results: StudyResults) -> str:
    """The report of the results; readable as text, too."""
    parts = ["# Throughput", _device(results), _peaks(results.peaks)]
    for kind in _NOTES:
        if rows := results.of_kind(kind):
            parts += [f"## {kind.capitalize()}", _table(kind, rows), _NOTES[kind]]
        if kind == TRAINING:
            parts += _of_own_setting(rows)
            parts += [_loop(row.result) for row in results.of_kind(LOOP)]
            if start := results.start:
                parts.append(
                    f"Once for all rows: {start.prepare_seconds:.1f} s for the frozen "
                    f"part, {start.init_seconds:.1f} s for the first weights, on the "
                    "CPU, both mostly compiling. The first update of a training ends "
                    "after these and the first call."
                )
    # The rows of a table may not be broken.
    parts = [part if part.startswith("|") else _wrap(part) for part in parts]
    return "\n\n".join(parts) + "\n"


def _wrap(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False)


# -- sentences ------------------------------------------------------------------


def _device(results: StudyResults) -> str:
    method, device = results.method, results.device
    fields = ", ".join(
        f"{name} {_field_text(method[name])}"
        for name in ("image_size", "batch_size", "P", "precision")
        if name in method
    )
    return (
        f"{method['class']} ({fields}) on {device['kind']}, {device['platform']}, jax "
        f"{device['jax']}, jaxlib {device['jaxlib']}, Python {device['python']}; "
        f"random images, random networks."
    )


def _field_text(value: Any) -> str:
    """As a config has it: JSON has made a list of a tuple."""
    return str(tuple(value) if isinstance(value, list) else value)


def _peaks(peaks: Peaks) -> str:
    shape = " x ".join(map(str, peaks.shape))
    return (
        f"Measured peaks: {peaks.product / 1e12:.3g} TFLOP/s of a {peaks.dtype} "
        f"product of {peaks.size} x {peaks.size} matrices "
        f"({peaks.product_float32 / 1e12:.3g} in float32 as JAX does it by "
        f"default), {peaks.convolution / 1e12:.3g} of a {peaks.dtype} 3 x 3 "
        f"convolution of {shape}. MFU is the share of the first."
    )


def _of_own_setting(rows: Sequence[MeasuredRow]) -> Iterator[str]:
    """What is said of the first row of training alone."""
    first = rows[0].result if rows else None
    if not isinstance(first, TrainingResult):
        return
    if first.of_convolution:
        yield (
            f"The first row computes at {first.of_convolution:.2g} times the rate of "
            "the convolution."
        )
    if first.crossing_bytes:
        yield (
            "Where devices share a batch, each puts "
            f"{first.crossing_bytes / 1e6:,.4g} MB into collectives in an update of "
            "one seed, counted off the program of the first row; where they share "
            "seeds, nothing crosses. Rows of several devices have as much for each as "
            "the first row has for one: at full efficiency their ratio is the number "
            "of devices."
        )


def _loop(result: Any) -> str:
    if not isinstance(result, LoopTiming):
        return f"The loop of a training {FAILED}."
    return (
        "The loop of a training, which draws rows, checks and logs losses and shows "
        f"its progress, adds {result.overhead:.1%} to the time of its calls alone "
        f"({1e3 * result.step_seconds:.4g} and {1e3 * result.call_seconds:.4g} ms an "
        f"update; rounds of {result.updates} updates in turn, the one of median "
        "ratio). Saving comes on top, once in checkpoint_minutes."
    )


# -- tables ---------------------------------------------------------------------

_NOTES = {
    TRAINING: """Each row changes one thing of the first. images/s: of the phase that
    most of training takes, all seeds together. GFLOP: of an image, as the traced
    program has them. first s: compiling and the first call; rows share what the
    compiler tried out for those above them. GiB: states, data and working memory by the
    compiler's estimate, and in brackets what the device saw in use at most, where the
    row raised it.""",
    INFERENCE: """Images lie on the device as float32; every map of the method is
    computed. GiB: working memory by the compiler's estimate.""",
    LATENCY: """From uint8 images in the host's memory to anomaly maps there, one pass
    after the other.""",
}


_Cell: TypeAlias = Callable[[Any], str]  # what a column shows of a result


def _number(name: str, form: str, scale: float = 1.0) -> _Cell:
    """A field of the result; a dash where it is None."""

    def show(result: Any) -> str:
        value = getattr(result, name)
        return NONE if value is None else format(scale * value, form)

    return show


def _gflop(result: Any) -> str:
    if result.flops_by_hand:  # of version 0.1.0, whose MFU is of them
        return f"{result.flops_by_hand / 1e9:,.4g} by hand"
    return _number("flops_traced", ",.4g", 1e-9)(result)


def _memory(result: Any) -> str:
    estimate = _number("memory_bytes", ".2f", 2**-30)(result)
    peak = getattr(result, "peak_bytes", None)
    return estimate if peak is None else f"{estimate} ({peak / 2**30:.2f})"


def _columns(kind: str, own_rate: float | None) -> Mapping[str, _Cell]:
    """Those behind what is varied. own_rate: images a second of the own setting."""
    rate = {"images/s": _number("images_per_second", ".4g")}
    if kind == LATENCY:
        return {
            "passes": _number("passes", ".0f"),
            "mean ms": _number("mean_seconds", ".2f", 1e3),
            "median ms": _number("median_seconds", ".2f", 1e3),
            "95 % ms": _number("p95_seconds", ".2f", 1e3),
            **rate,
        }
    start: dict[str, _Cell] = {"compile s": _number("compile_seconds", ".1f")}
    if kind == TRAINING:
        start = {"first s": lambda x: f"{x.compile_seconds + x.first_seconds:.1f}"}
    return {
        **rate,
        "ratio": lambda x: (
            f"{x.images_per_second / own_rate:.2f}" if own_rate else NONE
        ),
        "GFLOP": _gflop,
        "MFU": _number("mfu", ".1%"),
        **start,
        "GiB": _memory,
    }


def _table(kind: str, rows: Sequence[MeasuredRow]) -> str:
    # Only the size of the batch is varied where latency is measured.
    varied = "batch_size" if kind == LATENCY else "varied"
    own = next((row.result for row in rows if row.settings["varied"] == OWN), None)
    columns = _columns(kind, getattr(own, "images_per_second", None))
    cells = []
    for row in rows:
        if isinstance(row.result, Failure):
            shown = [FAILED, *[NONE] * (len(columns) - 1)]
        else:
            shown = [cell(row.result) for cell in columns.values()]
        cells.append([str(row.settings[varied]), *shown])
    head = [varied.removesuffix("_size"), *columns]
    return markdown_table(head, cells, int(kind != LATENCY), aligned=True)
