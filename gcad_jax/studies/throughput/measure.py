"""What the rows of a study of the throughput share: random images and networks."""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core.types import ImagesU8, Tree
from gcad_jax.data.dataset import Category
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.methods.base import DetectorState, Method, Phase, TrainState
from gcad_jax.studies.throughput.config import ThroughputStudy
from gcad_jax.studies.throughput.results import StartTiming
from gcad_jax.training.compilation import traced_flops, traced_flops_of
from gcad_jax.training.state import first_states
from gcad_jax.training.step import Resources

PASSES = {"cpu": 20}  # of the latency; 1000 on accelerators
UPDATES = {"cpu": 20}  # of the loop; 200 on accelerators
ROUNDS = 3  # of calls that follow each other; their median counts
NUM_PREPARED = 16  # images that the frozen part is made from
NUM_CALIBRATED = 8


class Networks:
    """Random networks of a method, on the host; made once for all rows that agree.

    frozen: `Method.prepare`'s. start: how long that and the first weights took.
    """

    def __init__(
        self, method: Method, category: Category, print_line: Callable[[str], None]
    ) -> None:
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
        calibration = self.method.calibrate(
            *jax.device_put((self.frozen, learned)), self.category.validation
        )
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

    def __init__(
        self,
        config: ThroughputStudy,
        device: jax.Device,
        print_line: Callable[[str], None],
    ) -> None:
        self.config, self.device, self._print_line = config, device, print_line
        self.passes = config.latency_passes or PASSES.get(device.platform, 1000)
        self.loop_updates = config.loop_updates or UPDATES.get(device.platform, 200)
        self.category = _random_category(config)
        self.start: StartTiming | None = None
        self._networks: dict[str, Networks] = {}

    def networks(self, method: Method) -> Networks:
        """Those of a method, of an earlier row where they are the same."""
        fields = method_as_json(method)
        for name in ("batch_size", "inference_batch_size", "precision"):
            fields.pop(name, None)  # none of them changes the networks
        key = json.dumps(fields)
        if key not in self._networks:
            self._networks[key] = Networks(method, self.category, self._print_line)
            self.start = self.start or self._networks[key].start
        return self._networks[key]

    def images(self, count: int) -> ImagesU8:
        """The first images, repeated where there are fewer; (count, S, S, C) uint8."""
        return self.category.train[np.arange(count) % len(self.category.train)]

    def peak_bytes(self) -> int | None:
        """Most that this process had in use on the device; None where it is silent."""
        return (self.device.memory_stats() or {}).get("peak_bytes_in_use")


def method_as_json(method: Method) -> dict[str, Any]:
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
        validation=images[:NUM_CALIBRATED],
        test=images[:0],
        test_images=(),
        augmentation=Augmentation(
            vertical_flip=True, horizontal_flip=True, rotation_degrees=3.0, jitter=0.1
        ),
        complete=False,
    )
