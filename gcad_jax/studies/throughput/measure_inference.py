"""Rows of inference: images a second of all maps, and the latency of a pass."""

import functools
import statistics
import time

import jax
import numpy as np

from gcad_jax.core.types import COMBINED
from gcad_jax.data.input.device import to_float
from gcad_jax.methods.common.apply import all_maps
from gcad_jax.studies.throughput.measure import ROUNDS, SharedState
from gcad_jax.studies.throughput.peaks import Peaks
from gcad_jax.studies.throughput.results import InferenceResult, LatencyResult
from gcad_jax.studies.throughput.rows import Row
from gcad_jax.training.cost.timing import time_calls

WARM_UP = 3  # calls before those that are timed


def measure_inference(shared: SharedState, row: Row, peaks: Peaks) -> InferenceResult:
    """Every map of images that lie on the device."""
    networks = shared.networks(row.method)
    detector = networks.detector()
    seeds = ((detector.learned, detector.calibration),)
    images = to_float(jax.device_put(shared.images(row.batch_size)))
    started = time.perf_counter()
    maps = jax.jit(all_maps(row.method))
    compiled = maps.lower(detector.frozen, seeds, images).compile()
    compile_seconds = time.perf_counter() - started
    call = functools.partial(compiled, detector.frozen, seeds, images)
    for _ in range(WARM_UP):
        time_calls(call, 1)
    rate = row.batch_size / time_calls(call, shared.config.calls, ROUNDS)
    flops = networks.inference_flops
    mfu, of_convolution = peaks.shares(rate, flops)
    return InferenceResult(
        images_per_second=rate,
        flops_traced=flops,
        mfu=mfu,
        of_convolution=of_convolution,
        compile_seconds=compile_seconds,
        memory_bytes=getattr(compiled.memory_analysis(), "temp_size_in_bytes", None),
    )


def measure_latency(shared: SharedState, row: Row) -> LatencyResult:
    """From uint8 on the host to the combined map on the host."""
    detector = shared.networks(row.method).detector()
    seeds = ((detector.learned, detector.calibration),)
    maps = jax.jit(all_maps(row.method))
    images = shared.images(row.batch_size)

    def time_pass() -> float:
        started = time.perf_counter()
        on_device = to_float(jax.device_put(images))
        np.asarray(maps(detector.frozen, seeds, on_device)[0][COMBINED])
        return time.perf_counter() - started

    for _ in range(shared.passes):  # to warm up
        time_pass()
    seconds = sorted(time_pass() for _ in range(shared.passes))
    mean = statistics.fmean(seconds)
    return LatencyResult(
        passes=shared.passes,
        mean_seconds=mean,
        median_seconds=statistics.median(seconds),
        p95_seconds=seconds[int(0.95 * (len(seconds) - 1))],
        images_per_second=row.batch_size / mean,
    )
