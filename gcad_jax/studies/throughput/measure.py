"""Measuring the rows of the study of the throughput."""

import contextlib
import dataclasses
import functools
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import local_folder_for
from gcad_jax.core.errors import is_out_of_memory
from gcad_jax.core.types import COMBINED, Tree
from gcad_jax.data.dataset import Category
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.data.input.device import to_float
from gcad_jax.methods.base import DetectorState, Learned, Method, Phase, TrainState
from gcad_jax.methods.common.apply import all_maps
from gcad_jax.studies.throughput.config import ThroughputStudy
from gcad_jax.studies.throughput.flops import budget
from gcad_jax.studies.throughput.peaks import peaks
from gcad_jax.studies.throughput.rows import INFERENCE, LATENCY, LOOP, TRAINING, Row
from gcad_jax.training.compilation import compile_step, traced_flops, traced_flops_of
from gcad_jax.training.cost.communication import crossing_bytes
from gcad_jax.training.cost.timing import time_loop, time_phase
from gcad_jax.training.input_pipeline import InMemory
from gcad_jax.training.options import LoopOptions
from gcad_jax.training.parallel.batch_layout import BatchLayout
from gcad_jax.training.parallel.choose import LAYOUTS
from gcad_jax.training.state import first_states, init_state
from gcad_jax.training.step import Resources, StepOptions

AUGMENTATION = Augmentation(
    vertical_flip=True, horizontal_flip=True, rotation_degrees=3.0, jitter=0.1
)
PASSES = {"cpu": 20}  # of the latency; 1000 on accelerators
UPDATES = {"cpu": 20}  # of the loop; 200 on accelerators
WARM = 3  # calls before those that are timed
ROUNDS = 3  # of calls that follow each other; their median counts
PREPARED = 16  # images that the frozen part is made from
CALIBRATED = 8


class Measurements:
    """What rows share on one device: random images, networks, counts of operations.

    config: of the study. say: told what takes long.
    begun: seconds of the first start, or None before it.
    """

    def __init__(
        self,
        config: ThroughputStudy,
        device: jax.Device,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.device, self.say = config, device, say
        self.passes = config.latency_passes or PASSES.get(device.platform, 1000)
        self.loop_updates = config.loop_updates or UPDATES.get(device.platform, 200)
        self.category = _random_category(config)
        self.prepared: dict[str, tuple[Tree, TrainState]] = {}
        self.calibrations: dict[str, Tree] = {}
        self.flops: dict[tuple[str, str], float | None] = {}
        self.peaks: Mapping[str, Any] = {}
        self.begun: dict[str, float] | None = None

    def measured_peaks(self) -> dict[str, Any]:
        """Those of a convolution as wide as the first level of a U-Net, too."""
        method = self.config.method
        batch = getattr(method, "batch_size", method.inference_batch_size)
        width = max(4, round(64 * getattr(method, "width", 1.0)))
        return dataclasses.asdict(peaks(method.image_size, batch, width))

    def values(
        self, row: Row, peaks: Mapping[str, Any], folder: epath.Path | None = None
    ) -> dict[str, Any]:
        """The values of a row, or that it does not fit into memory.

        peaks: as `measured_peaks` has them. folder: for a trace of a training.
        """
        self.peaks = peaks
        kinds: Mapping[str, Callable[[Row], dict[str, Any]]] = {
            TRAINING: functools.partial(self.training, folder=folder),
            LOOP: self.loop,
            INFERENCE: self.inference,
            LATENCY: self.latency,
        }
        try:
            return kinds[row.kind](row)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return {"failed": "out of memory"}
        finally:
            gc.collect()

    def training(self, row: Row, folder: epath.Path | None) -> dict[str, Any]:
        """Of the longest phase; a trace of it goes into the folder."""
        method = row.method
        feed, phase, options, states, resources = self.begin(row)
        before = self.peak_bytes()
        timing, states = time_phase(
            phase,
            row.batch_size,
            feed,
            states,
            resources,
            options,
            self.config.calls,
            ROUNDS,
        )
        after = self.peak_bytes()
        if folder:
            self.profile(folder, phase, feed, states, resources)
        crossing = self.crossing_bytes(row, phase, resources)
        del states, resources
        counted, traced = budget(method), self.training_flops(method, phase)
        by_hand = counted.training if counted else None
        return {
            **dataclasses.asdict(timing),
            "images_per_second": timing.images_per_second,
            "flops_by_hand": by_hand,
            "flops_traced": traced,
            **self.shares(
                timing.images_per_second / row.num_devices, by_hand or traced
            ),
            "crossing_bytes": crossing,
            "memory_bytes": timing.held_bytes + (timing.scratch_bytes or 0),
            "peak_bytes": after if after and after > (before or 0) else None,
        }

    def begin(
        self, row: Row
    ) -> tuple[InMemory, Phase, LoopOptions, TrainState, Resources]:
        """What is trained: its longest phase, with states and data on the devices."""
        assert row.step is not None
        method = row.method
        frozen, state = self.start(method)
        category = self.category
        if len(category.train) < row.batch_size:
            category = dataclasses.replace(category, train=self.images(row.batch_size))
        feed = InMemory(method, category, tuple(range(row.num_seeds)))
        devices = tuple(jax.local_devices()[: row.num_devices])
        options = LoopOptions(LAYOUTS[row.layout](devices), row.step)
        phase = max(method.phases(feed.steps_per_epoch), key=lambda p: p.num_steps)
        states = options.layout.states_to_device(_repeated(state, row.num_seeds))
        return feed, phase, options, states, feed.resources(frozen, options.layout)

    def crossing_bytes(self, row: Row, phase: Phase, resources: Resources) -> int:
        """That a device puts into collectives in one update of one seed."""
        _, state = self.start(row.method)
        fed = jax.ShapeDtypeStruct((1, 1, row.batch_size), np.int32)
        augmentation = AUGMENTATION if row.method.augmented else Augmentation()
        one = _repeated(state, 1)
        return crossing_bytes(phase, augmentation, one, resources, fed)

    def loop(self, row: Row) -> dict[str, Any]:
        """The loop of a training against the calls that it makes."""
        feed, phase, options, states, resources = self.begin(row)
        with tempfile.TemporaryDirectory() as place:
            timing = time_loop(
                row.method,
                phase,
                feed,
                states,
                resources,
                tuple(range(row.num_seeds)),
                options,
                epath.Path(place),
                self.loop_updates,
                ROUNDS,
            )
        return {
            **dataclasses.asdict(timing),
            "overhead": timing.overhead,
            "updates": self.loop_updates,
            "images_per_second": row.batch_size / timing.step_seconds,
        }

    def inference(self, row: Row) -> dict[str, Any]:
        """Every map of images that lie on the device."""
        method = row.method
        frozen, seeds = self.detector(method)
        images = to_float(jax.device_put(self.images(row.batch_size)))
        started = time.perf_counter()
        compiled = jax.jit(all_maps(method)).lower(frozen, seeds, images).compile()
        compiling = time.perf_counter() - started
        call = functools.partial(compiled, frozen, seeds, images)
        for _ in range(WARM):
            jax.block_until_ready(call())
        seconds = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            for _ in range(self.config.calls):
                last = call()
            jax.block_until_ready(last)
            seconds.append((time.perf_counter() - started) / self.config.calls)
        rate = row.batch_size / statistics.median(seconds)
        counted = budget(method)
        by_hand = counted.inference if counted else None
        traced = self.inference_flops(method, frozen, seeds)
        memory = getattr(compiled.memory_analysis(), "temp_size_in_bytes", None)
        return {
            "images_per_second": rate,
            "flops_by_hand": by_hand,
            "flops_traced": traced,
            **self.shares(rate, by_hand or traced),
            "compile_seconds": compiling,
            "memory_bytes": memory,
        }

    def latency(self, row: Row) -> dict[str, Any]:
        """From uint8 on the host to the combined map on the host."""
        frozen, seeds = self.detector(row.method)
        maps = jax.jit(all_maps(row.method))
        images = self.images(row.batch_size)

        def once() -> float:
            started = time.perf_counter()
            np.asarray(
                maps(frozen, seeds, to_float(jax.device_put(images)))[0][COMBINED]
            )
            return time.perf_counter() - started

        for _ in range(self.passes):
            once()
        seconds = sorted(once() for _ in range(self.passes))
        mean = statistics.fmean(seconds)
        return {
            "passes": self.passes,
            "mean_seconds": mean,
            "median_seconds": statistics.median(seconds),
            "p95_seconds": seconds[int(0.95 * (len(seconds) - 1))],
            "images_per_second": row.batch_size / mean,
        }

    def profile(
        self,
        folder: epath.Path,
        phase: Phase,
        feed: InMemory,
        states: TrainState,
        resources: Resources,
    ) -> None:
        """A trace of one call of one update, after one to warm up."""
        layout = BatchLayout((self.device,))
        program = compile_step(
            phase,
            feed.augmentation,
            StepOptions(),
            layout,
            states,
            resources,
            feed.take(0, 1, layout),
        )
        fed = layout.examples_to_device(feed.take(0, 1, layout))
        with local_folder_for(folder) as place:
            for context in (contextlib.nullcontext(), jax.profiler.trace(place)):
                with context:
                    states, metrics = program.call(states, resources, fed)
                    jax.block_until_ready((states, metrics))

    # -- what rows share --------------------------------------------------------

    def images(self, count: int) -> np.ndarray:
        """The first images, repeated where there are fewer; (count, S, S, C) uint8."""
        return self.category.train[np.arange(count) % len(self.category.train)]

    def start(self, method: Method) -> tuple[Tree, TrainState]:
        """Frozen part and first state, on the host; once for methods of one shape."""
        key = _networks(method)
        if key not in self.prepared:
            started = time.perf_counter()
            frozen = jax.device_get(method.prepare(self.category.train[:PREPARED]))
            prepared = time.perf_counter()
            self.say(f"            frozen part after {prepared - started:.1f} s")
            state = self.known(method) or self.first_state(method)
            done = time.perf_counter()
            self.say(f"            first weights after {done - prepared:.1f} s")
            self.prepared[key] = (frozen, state)
            if self.begun is None:
                self.begun = {
                    "prepare_seconds": prepared - started,
                    "init_seconds": done - prepared,
                }
        return self.prepared[key]

    def first_state(self, method: Method) -> TrainState:
        """The state of seed 0, on the host."""
        states = first_states(method, (0,))
        return jax.tree.map(lambda x: x[0] if _is_key(x) else np.asarray(x)[0], states)

    def known(self, method: Method) -> TrainState | None:
        """The networks of this method out of those of another, where all are there."""
        shape = jax.eval_shape(lambda: init_state(method, 0))
        for _, state in self.prepared.values():
            learned, optimizers = state.learned, state.opt_state
            if shape.learned.params.keys() <= learned.params.keys():
                part = state.replace(  # type: ignore[attr-defined]
                    learned=learned.replace(  # type: ignore[attr-defined]
                        params={n: learned.params[n] for n in shape.learned.params}
                    ),
                    opt_state={n: optimizers[n] for n in shape.opt_state},
                )
                if jax.tree.map(np.shape, part) == jax.tree.map(np.shape, shape):
                    return part
        return None

    def detector(self, method: Method) -> tuple[Tree, tuple[tuple[Learned, Tree]]]:
        """Frozen part, learned part and calibration of one seed, on the device."""
        key = _networks(method)
        frozen, state = self.start(method)
        frozen, learned = jax.device_put((frozen, state.learned), self.device)
        if key not in self.calibrations:
            self.calibrations[key] = method.calibrate(
                frozen, learned, self.category.validation
            )
        return frozen, ((learned, self.calibrations[key]),)

    def peak_bytes(self) -> int | None:
        """Most that this process had in use on the device; None where it is silent."""
        return (self.device.memory_stats() or {}).get("peak_bytes_in_use")

    def shares(self, rate: float, flops: float | None) -> dict[str, float | None]:
        """Of the measured peaks, at `rate` images a second of `flops` each."""
        if not flops:
            return {"mfu": None, "of_convolution": None}
        return {
            "mfu": rate * flops / self.peaks["product"],
            "of_convolution": rate * flops / self.peaks["convolution"],
        }

    def training_flops(self, method: Method, phase: Phase) -> float | None:
        """Of an image and one seed, of the program before optimization."""
        key = (TRAINING, _networks(method))
        if key not in self.flops:
            frozen, state = self.start(method)
            resources = Resources(frozen, jnp.asarray(self.category.train), None)
            augmentation = AUGMENTATION if method.augmented else Augmentation()
            self.flops[key] = traced_flops(
                phase, augmentation, _repeated(state, 1), resources
            )
        return self.flops[key]

    def inference_flops(self, method: Method, frozen: Tree, seeds: Any) -> float | None:
        """Of an image, of the program before optimization."""
        key = (INFERENCE, _networks(method))
        if key not in self.flops:
            shape = (1, *self.category.train.shape[1:])
            ((learned, calibration),) = seeds
            self.flops[key] = traced_flops_of(
                method.anomaly_map,
                DetectorState(frozen, learned, calibration),
                jax.ShapeDtypeStruct(shape, np.float32),
            )
        return self.flops[key]


def as_dict(method: Method) -> dict[str, Any]:
    """Its class and fields, as JSON can hold them."""
    fields = json.loads(json.dumps(dataclasses.asdict(method)))  # type: ignore[call-overload]
    return {"class": type(method).__name__, **fields}


def _random_category(config: ThroughputStudy) -> Category:
    side, channels = config.method.image_size, config.method.channels
    images = np.random.default_rng(0).integers(
        0, 256, (config.num_images, side, side, channels), dtype=np.uint8
    )
    return Category(
        dataset="random",
        name="random",
        train=images,
        validation=images[:CALIBRATED],
        test=images[:0],
        test_images=(),
        augmentation=AUGMENTATION,
        complete=False,
    )


def _networks(method: Method) -> str:
    """Equal for methods with the same networks."""
    fields = as_dict(method)
    for name in ("batch_size", "inference_batch_size", "precision"):
        fields.pop(name, None)
    return json.dumps(fields)


def _is_key(leaf: Any) -> bool:
    return bool(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _repeated(state: TrainState, count: int) -> TrainState:
    """The state as that of `count` seeds: arithmetic does not mind equal numbers."""
    return jax.tree.map(lambda x: (jnp if _is_key(x) else np).stack([x] * count), state)
