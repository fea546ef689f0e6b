"""throughput.md: what the study of the throughput measured, as tables."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from gcad_jax.reporting.tables import NONE, markdown_table
from gcad_jax.studies.throughput.rows import INFERENCE, LATENCY, LOOP, OWN, TRAINING

WIDTH = 80
FAILED = "does not fit"


def markdown(found: Mapping[str, Any]) -> str:
    """The report of what throughput.json holds; readable as text, too."""
    rows: dict[str, list[Mapping[str, Any]]] = {
        kind: [row for row in found["rows"] if row["kind"] == kind]
        for kind in (TRAINING, LOOP, INFERENCE, LATENCY)
    }
    parts = ["# Throughput", _device(found), _peaks(found["peaks"])]
    if rows[TRAINING]:
        parts += ["## Training", _training(rows[TRAINING]), _TRAINING]
        parts += _of_convolution(rows[TRAINING][0]["values"])
        parts += _crossing(rows[TRAINING][0]["values"])
    for row in rows[LOOP]:
        parts.append(_loop(row["values"]))
    if start := found.get("start"):
        parts.append(_start(start))
    if rows[INFERENCE]:
        parts += ["## Inference", _inference(rows[INFERENCE]), _INFERENCE]
    if rows[LATENCY]:
        parts += ["## Latency", _latency(rows[LATENCY]), _LATENCY]
    return "\n\n".join(parts) + "\n"


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False)


def _device(found: Mapping[str, Any]) -> str:
    own, device = found["method"], found["device"]
    fields = ", ".join(
        f"{name} {own[name]}"
        for name in ("image_size", "batch_size", "P", "precision")
        if name in own
    )
    return _filled(
        f"{own['class']} ({fields}) on {device['kind']}, {device['platform']}, jax "
        f"{device['jax']}, jaxlib {device['jaxlib']}, Python {device['python']}; "
        f"random images, random networks."
    )


def _peaks(peaks: Mapping[str, Any]) -> str:
    shape = " x ".join(map(str, peaks["shape"]))
    return _filled(
        f"Measured peaks: {peaks['product'] / 1e12:.3g} TFLOP/s of a {peaks['dtype']} "
        f"product of {peaks['size']} x {peaks['size']} matrices "
        f"({peaks['product_float32'] / 1e12:.3g} in float32 as JAX does it by "
        f"default), {peaks['convolution'] / 1e12:.3g} of a {peaks['dtype']} 3 x 3 "
        f"convolution of {shape}. MFU is the share of the first."
    )


def _start(start: Mapping[str, Any]) -> str:
    return _filled(
        f"Once for all rows: {start['prepare_seconds']:.1f} s for the frozen part, "
        f"{start['init_seconds']:.1f} s for the first weights, on the CPU, both "
        "mostly compiling. The first update of a training ends after these and the "
        "first call."
    )


def _of_convolution(own: Mapping[str, Any]) -> list[str]:
    if not own.get("of_convolution"):
        return []
    return [
        f"The first row computes at {own['of_convolution']:.2g} times the rate of the "
        "convolution."
    ]


def _crossing(own: Mapping[str, Any]) -> list[str]:
    if not own.get("crossing_bytes"):
        return []
    return [
        _filled(
            "Where devices share a batch, each puts "
            f"{own['crossing_bytes'] / 1e6:,.4g} MB into collectives in an update of "
            "one seed, counted off the program of the first row; where they share "
            "seeds, nothing crosses. Rows of several devices have as much for each as "
            "the first row has for one: at full efficiency their ratio is the number "
            "of devices."
        )
    ]


def _loop(values: Mapping[str, Any]) -> str:
    if "failed" in values:
        return f"The loop of a training {FAILED}."
    within, alone = (1e3 * values[n] for n in ("step_seconds", "call_seconds"))
    return _filled(
        "The loop of a training, which draws rows, checks and logs losses and shows "
        f"its progress, adds {values['overhead']:.1%} to the time of its calls alone "
        f"({within:.4g} and {alone:.4g} ms an update; rounds of {values['updates']} "
        "updates in turn, the one of median ratio). Saving comes on top, once in "
        "--config.checkpoint_minutes."
    )


_TRAINING = _filled(
    """Each row changes one thing of the first. images/s: of the phase that most of
    training takes, all seeds together. GFLOP: of an image, counted by hand or, marked
    *, those of the traced program. first s: compiling and the first call; rows share
    what the compiler tried out for those above them. GiB: states, data and working
    memory by the compiler's estimate, and in brackets what the device saw in use at
    most, where the row raised it."""
)
_INFERENCE = _filled(
    """Images lie on the device as float32; every map of the method is computed. GiB:
    working memory by the compiler's estimate."""
)
_LATENCY = _filled(
    """From uint8 images in the host's memory to anomaly maps there, one pass after the
    other."""
)


def _training(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = ["varied", "images/s", "ratio", "GFLOP", "MFU", "first s", "GiB"]
    return markdown_table(heads, [_training_row(row, rows) for row in rows], 1, True)


def _training_row(
    row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> list[str]:
    values = row["values"]
    if "failed" in values:
        return [row["varied"], FAILED, *[NONE] * 5]
    first = values["compile_seconds"] + values["first_seconds"]
    return [
        row["varied"],
        f"{values['images_per_second']:.4g}",
        _ratio(row, rows),
        _gflop(values),
        _share(values["mfu"]),
        f"{first:.1f}",
        _memory(values),
    ]


def _inference(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = ["varied", "images/s", "ratio", "GFLOP", "MFU", "compile s", "GiB"]
    return markdown_table(
        heads,
        [
            [row["varied"], FAILED, *[NONE] * 5]
            if "failed" in row["values"]
            else [
                row["varied"],
                f"{row['values']['images_per_second']:.4g}",
                _ratio(row, rows),
                _gflop(row["values"]),
                _share(row["values"]["mfu"]),
                f"{row['values']['compile_seconds']:.1f}",
                _memory(row["values"]),
            ]
            for row in rows
        ],
        1,
        True,
    )


def _latency(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = ["batch", "passes", "mean ms", "median ms", "95 % ms", "images/s"]
    return markdown_table(
        heads,
        [
            [str(row["batch_size"]), FAILED, *[NONE] * 4]
            if "failed" in row["values"]
            else [
                str(row["batch_size"]),
                str(row["values"]["passes"]),
                *(
                    f"{1e3 * row['values'][name]:.2f}"
                    for name in ("mean_seconds", "median_seconds", "p95_seconds")
                ),
                f"{row['values']['images_per_second']:.4g}",
            ]
            for row in rows
        ],
        0,
        True,
    )


def _ratio(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    own: Mapping[str, Any] = next((r["values"] for r in rows if r["varied"] == OWN), {})
    if not own.get("images_per_second"):
        return NONE
    ratio = row["values"]["images_per_second"] / own["images_per_second"]
    return f"{ratio:.2f}"


def _gflop(values: Mapping[str, Any]) -> str:
    if values["flops_by_hand"]:
        return f"{values['flops_by_hand'] / 1e9:,.4g}"
    flops = values["flops_traced"]
    return f"{flops / 1e9:,.4g}*" if flops else NONE


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def _memory(values: Mapping[str, Any]) -> str:
    estimate, peak = values["memory_bytes"], values.get("peak_bytes")
    text = NONE if estimate is None else f"{estimate / 2**30:.2f}"
    return text if peak is None else f"{text} ({peak / 2**30:.2f})"
