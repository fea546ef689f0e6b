"""The rows of a study of the throughput, measured with random images and networks."""

import contextlib
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import local_folder_for
from gcad_jax.core.console import print_line
from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.types import COMBINED, ImagesU8, Tree
from gcad_jax.data.dataset import Category
from gcad_jax.data.image_size import network_size
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.data.input.device import to_float
from gcad_jax.methods.base import (
    DetectorState,
    Method,
    Phase,
    TrainState,
    wanted_size,
)
from gcad_jax.methods.common.apply import all_maps
from gcad_jax.studies.throughput.config import ThroughputStudy
from gcad_jax.studies.throughput.peaks import Peaks
from gcad_jax.studies.throughput.results import (
    InferenceResult,
    LatencyResult,
    StartTiming,
    TrainingResult,
)
from gcad_jax.studies.throughput.rows import Row
from gcad_jax.training.compilation import traced_flops, traced_flops_of
from gcad_jax.training.cost.communication import crossing_bytes
from gcad_jax.training.cost.timing import LoopTiming, TimedTrainer, time_calls
from gcad_jax.training.input_pipeline import InMemory
from gcad_jax.training.options import LoopOptions
from gcad_jax.training.parallel.choose_layout import LAYOUTS
from gcad_jax.training.state import first_states
from gcad_jax.training.step import Resources

PASSES = {"cpu": 20}  # of the latency; 1000 on accelerators
UPDATES = {"cpu": 20}  # of the loop; 200 on accelerators
ROUNDS = 3  # of calls that follow each other; their median counts
NUM_PREPARED = 16  # images that the frozen part is made from
NUM_CALIBRATED = 8
WARM_UP = 3  # calls before those that are timed


class RandomNetworks:
    """Random networks of a method, on the host; made once for all rows that agree.

    frozen: `Method.prepare`'s. start: how long that and the first weights took.
    """

    def __init__(self, method: Method, category: Category) -> None:
        self.method, self.category = method, category
        started = time.perf_counter()
        self.frozen: Tree = jax.device_get(
            method.prepare(category.train[:NUM_PREPARED])
        )
        prepared = time.perf_counter()
        print_line(f"            frozen part after {prepared - started:.1f} s")
        states: Any = first_states(method, (0,))
        # In NumPy, so that they take no memory of the device; it cannot hold keys.
        states = states.replace(key=jax.random.key_data(states.key))
        self._states = jax.tree.map(np.asarray, states)
        done = time.perf_counter()
        print_line(f"            first weights after {done - prepared:.1f} s")
        self.start = StartTiming(prepared - started, done - prepared)
        self._training_flops: dict[str, float | None] = {}

    def states(self, num_seeds: int = 1) -> TrainState:
        """Equal ones of several seeds, on the host: time depends on shapes alone."""
        states: Any = jax.tree.map(lambda x: np.repeat(x, num_seeds, 0), self._states)
        return states.replace(key=jax.random.wrap_key_data(states.key))

    @functools.cached_property
    def detector(self) -> DetectorState:
        """Frozen part, networks and calibration of one seed, on the host."""
        learned = jax.tree.map(lambda leaf: leaf[0], self._states.learned)
        images = self.category.validation
        frozen, on_device = jax.device_put((self.frozen, learned))
        calibration = self.method.calibrate(frozen, on_device, images)
        return DetectorState(self.frozen, learned, jax.device_get(calibration))

    def training_flops(self, phase: Phase, augmentation: Augmentation) -> float | None:
        """Of an image and one seed, of the program before optimization."""
        if phase.name not in self._training_flops:
            resources = Resources(self.frozen, jnp.asarray(self.category.train), None)
            self._training_flops[phase.name] = traced_flops(
                phase, augmentation, self.states(), resources
            )
        return self._training_flops[phase.name]

    @functools.cached_property
    def inference_flops(self) -> float | None:
        """Of an image, of the program before optimization."""
        image = jax.ShapeDtypeStruct((1, *self.category.train.shape[1:]), np.float32)
        return traced_flops_of(self.method.anomaly_map, self.detector, image)


class SharedState:
    """What rows share on one device.

    passes: of the latency. loop_updates: of a round of the loop. start: of the first
    networks, or None before them.
    """

    def __init__(self, config: ThroughputStudy, device: jax.Device) -> None:
        self.config, self.device = config, device
        self.passes = config.latency_passes or PASSES.get(device.platform, 1000)
        self.loop_updates = config.loop_updates or UPDATES.get(device.platform, 200)
        self.category = _random_category(config)
        self.start: StartTiming | None = None
        self._networks: dict[str, RandomNetworks] = {}

    def networks(self, method: Method) -> RandomNetworks:
        """Those of a method, of an earlier row where they are the same."""
        fields = method_as_json(method)
        for name in ("batch_size", "inference_batch_size", "precision"):
            fields.pop(name, None)  # none of them changes the networks
        key = json.dumps(fields)
        if key not in self._networks:
            self._networks[key] = RandomNetworks(method, self.category)
            self.start = self.start or self._networks[key].start
        return self._networks[key]

    def images(self, count: int) -> ImagesU8:
        """The first images, repeated where there are fewer; (count, h, w, C) uint8."""
        return self.category.train[np.arange(count) % len(self.category.train)]

    def peak_bytes(self) -> int | None:
        """Most that this process had in use on the device; None where it is silent."""
        return (self.device.memory_stats() or {}).get("peak_bytes_in_use")


def method_as_json(method: Method) -> dict[str, Any]:
    """Its class and fields, as JSON can hold them."""
    fields = json.loads(json.dumps(dataclasses.asdict(method)))  # type: ignore[call-overload]
    return {"class": type(method).__name__, **fields}


def _random_category(config: ThroughputStudy) -> Category:
    size = network_size(wanted_size(config.method), [(1, 1)])
    shape = (config.num_images, *size, config.method.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Category(
        dataset="random",
        name="random",
        train=images,
        validation=images[:NUM_CALIBRATED],
        test=images[:0],
        test_images=(),
        augmentation=Augmentation(
            vertical_flip=True, horizontal_flip=True, rotation_degrees=3.0, jitter=0.1
        ),
        complete=False,
    )


def start_training(
    shared: SharedState, row: Row
) -> tuple[TimedTrainer, TrainState, Resources]:
    """The trainer of a row, with states and data on its devices."""
    assert row.step is not None
    category = shared.category
    if len(category.train) < row.batch_size:
        category = dataclasses.replace(category, train=shared.images(row.batch_size))
    seeds = range(row.num_seeds)
    layout = LAYOUTS[row.layout](tuple(jax.local_devices()[: row.num_devices]))
    pipeline = InMemory(row.method, category, seeds)
    trainer = TimedTrainer(row.method, pipeline, seeds, LoopOptions(layout, row.step))
    networks = shared.networks(row.method)
    states = layout.states_to_device(networks.states(row.num_seeds))
    return trainer, states, pipeline.resources(networks.frozen, layout)


def measure_training(
    shared: SharedState, row: Row, peaks: Peaks, profile_folder: epath.Path | None
) -> TrainingResult:
    """The longest phase of a training; a trace of it goes into the folder."""
    trainer, states, resources = start_training(shared, row)
    position = trainer.longest_phase
    # The device tells the peak of the process: it is of this row where it rises.
    peak_before = shared.peak_bytes() or 0
    timing, states = trainer.time_phase(
        position, states, resources, shared.config.calls, ROUNDS
    )
    peak = shared.peak_bytes() or 0
    if profile_folder:
        # A call of one update.
        program = trainer.program(position, states, resources, 1)
        of_call = trainer.take(0, 1)
        with local_folder_for(profile_folder) as place:
            # The first call loads the program, which is not to be in the trace.
            for context in (contextlib.nullcontext(), jax.profiler.trace(place)):
                with context:
                    states, metrics = program.call(states, resources, of_call)
                    jax.block_until_ready((states, metrics))
    networks, phase = shared.networks(row.method), trainer.phases[position]
    augmentation = trainer.pipeline.augmentation
    # The rows of the data set for one call, one seed and a whole batch.
    examples = jax.ShapeDtypeStruct((1, 1, row.batch_size), np.int32)
    flops = networks.training_flops(phase, augmentation)
    rate = timing.images_per_second / row.num_devices
    return TrainingResult(
        **dataclasses.asdict(timing),
        **peaks.shares(rate, flops),
        crossing_bytes=crossing_bytes(
            phase, augmentation, networks.states(), resources, examples
        ),
        memory_bytes=timing.held_bytes + (timing.scratch_bytes or 0),
        peak_bytes=peak if peak > peak_before else None,
    )


def measure_loop(shared: SharedState, row: Row) -> LoopTiming:
    """The loop of a training against the calls that it makes."""
    trainer, states, resources = start_training(shared, row)
    return trainer.time_loop(
        trainer.longest_phase, states, resources, shared.loop_updates, ROUNDS
    )


def compile_maps(
    method: Method, detector: DetectorState, images: ImagesU8
) -> tuple[Callable[[], Any], Any]:
    """The call that computes every map of a batch on the device, and its program."""
    detector = jax.device_put(detector)
    seeds = ((detector.learned, detector.calibration),)
    on_device = to_float(jax.device_put(images))
    maps = jit_here(all_maps(method))
    compiled = maps.lower(detector.frozen, seeds, on_device).compile()
    return functools.partial(compiled, detector.frozen, seeds, on_device), compiled


def measure_inference(shared: SharedState, row: Row, peaks: Peaks) -> InferenceResult:
    """Every map of images that lie on the device."""
    networks = shared.networks(row.method)
    detector, images = networks.detector, shared.images(row.batch_size)
    started = time.perf_counter()
    call, compiled = compile_maps(row.method, detector, images)
    compile_seconds = time.perf_counter() - started
    for _ in range(WARM_UP):
        time_calls(call, 1)
    rate = row.batch_size / time_calls(call, shared.config.calls, ROUNDS)
    return InferenceResult(
        **peaks.shares(rate, networks.inference_flops),
        images_per_second=rate,
        compile_seconds=compile_seconds,
        memory_bytes=getattr(compiled.memory_analysis(), "temp_size_in_bytes", None),
    )


def measure_latency(shared: SharedState, row: Row) -> LatencyResult:
    """From uint8 on the host to the combined map on the host."""
    detector = jax.device_put(shared.networks(row.method).detector)
    seeds = ((detector.learned, detector.calibration),)
    maps = jit_here(all_maps(row.method))
    images = shared.images(row.batch_size)

    def time_pass() -> float:
        started = time.perf_counter()
        on_device = to_float(jax.device_put(images))
        np.asarray(maps(detector.frozen, seeds, on_device)[0].maps[COMBINED])
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
