"""The protocol between a method and everything that runs it (docs/design.md).

Trainer, evaluator, predict and export know these classes and no method by name.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import optax
from flax import struct

from gcad_jax.core.errors import UserError
from gcad_jax.core.types import (
    AnomalyMaps,
    Array,
    Images,
    ImageScores,
    ImagesU8,
    Key,
    Keys,
    Metrics,
    Tree,
)
from gcad_jax.data.image_size import ImageSize


@struct.dataclass
class Learned:
    """What training changes; differs between seeds.

    params: one entry for each named network.
    model_state: BatchNorm statistics, MNAD's memory; {} otherwise.
    """

    params: dict[str, Tree]
    model_state: Tree

    def variables(self, name: str) -> dict[str, Tree]:
        """Of a network with running batch statistics, as its `apply` takes them."""
        return {"params": self.params[name], "batch_stats": self.model_state[name]}


@struct.dataclass
class TrainState:
    """All that a checkpoint holds: arrays only, no functions inside.

    step: () int32, number of finished updates.
    learned: networks and their state.
    opt_state: one entry for each named network.
    key: () typed PRNG key of this seed; never advanced, steps fold it.
    """

    step: Array
    learned: Learned
    opt_state: dict[str, Tree]
    key: Key


@struct.dataclass
class DetectorState:
    """All that inference needs, for one seed.

    frozen: E_loc, a feature gallery, pixel statistics; shared by all seeds.
    learned: the trained networks.
    calibration: mu and sigma of each branch, from the validation images.
    """

    frozen: Tree
    learned: Learned
    calibration: Tree


# Its name in version 0.1.0, which methods of others import.
Detector = DetectorState


@struct.dataclass
class Batch:
    """The examples of one update on one device.

    images: (B, H, W, C) float32 in [0, 1], augmented.
    cached: what `Method.cache` computed for these images, leaves (B, ...); None
        where features are not cached.
    """

    images: Images
    cached: Tree = None


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of training with one compiled update.

    update: (state, frozen, batch, keys) -> (state, metrics), for one device and one
        seed; keys (B,), one an example; metrics are means over the batch axis.
    """

    name: str
    num_steps: int
    update: Callable[[TrainState, Tree, Batch, Keys], tuple[TrainState, Metrics]]


class Trainable(Protocol):
    """What training needs to know."""

    @property
    def batch_size(self) -> int:
        """Examples of one update, over all devices."""

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """One optimizer for each named network."""

    def init(self, key: Key) -> Learned:
        """Fresh networks of one seed."""

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        """The phases in order; () where nothing is trained."""


def read_phases(task: Trainable, steps_per_epoch: int) -> tuple[Phase, ...]:
    """The phases of a task, each with a name of its own, and few enough updates.

    Logs and costs tell phases apart by their names alone.

    Raises:
      UserError: two phases of one name, or more updates than can be counted.
    """
    phases = tuple(task.phases(steps_per_epoch))
    counts = collections.Counter(phase.name for phase in phases)
    for name, count in counts.items():
        if count > 1:
            raise UserError(
                f"{type(task).__name__} has {count} phases named {name!r}; each phase "
                "needs a name of its own."
            )
    # `TrainState.step` counts them in an int32.
    if (num_steps := sum(phase.num_steps for phase in phases)) >= 2**31:
        raise UserError(
            f"{type(task).__name__} would make {num_steps} updates; fewer than 2**31 "
            "can be counted: lower its epochs, or make its batches larger."
        )
    return phases


def wanted_size(method: "Method") -> ImageSize:
    """A method's `input_size`; a square where it has none, as those of 0.1.0."""
    if hasattr(method, "input_size"):
        return method.input_size
    return method.image_size


class ScoredImages(NamedTuple):
    """What a detector says of B images.

    maps: (B, h, w) by name: the branches, and the combined map under `COMBINED`.
    image_scores: (B,), which decide; `Method.image_scores`.

    Arrays of JAX, as a program computes them, or of NumPy, where they were fetched.
    """

    maps: Mapping[str, Any]
    image_scores: Any


class Method(Trainable, Protocol):
    """A method: a dataclass of hyper-parameters with these pure functions."""

    @property
    def title(self) -> str:
        """Its name in the paper."""

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Side of the square input in pixels; (height, width) where both are given.

        Of a category that is loaded or a detector that is stored the size is known:
        `Category.image_size`, `DetectorFile.image_size`.
        """

    @property
    def input_size(self) -> ImageSize:
        """What the data set makes the size of the input of; see `wanted_size`."""

    @property
    def augmented(self) -> bool:
        """Whether training uses the augmentation of the category."""

    @property
    def samples_per_epoch(self) -> int | None:
        """Images of an epoch, drawn again as often as needed; None: each once."""

    @property
    def inference_batch_size(self) -> int:
        """Images of one call outside training."""

    @property
    def channels(self) -> int:
        """3 (RGB) or 1 (gray)."""

    @property
    def branches(self) -> tuple[str, ...]:
        """The names in `branch_maps`, in the paper's order."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""

    def prepare(self, images: ImagesU8) -> Tree:
        """The frozen part, from the unaugmented training images; no seed."""

    def cache(self, frozen: Tree, images: Images) -> Tree:
        """What an update needs of unaugmented images and need not recompute."""

    def calibrate(self, frozen: Tree, learned: Learned, images: ImagesU8) -> Tree:
        """Scale of the scores, from the good validation images (V, H, W, C) uint8."""

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """The combined anomaly map (B, H, W), larger = more anomalous.

        It is exported with a symbol for B: `x.shape[0]` is one, `len(x)` and
        `int(x.shape[0])` are errors.
        """

    def branch_maps(
        self, detector: DetectorState, images: Images
    ) -> Mapping[str, AnomalyMaps]:
        """The maps that are combined, by the names in `branches`; {} without."""

    @property
    def image_score_name(self) -> str:
        """What `image_scores` are, in a few words; `MAP_MAXIMUM` for the maximum."""

    def image_scores(
        self, detector: DetectorState, images: Images, combined: AnomalyMaps
    ) -> ImageScores:
        """The score of each image (B,), which decides; larger = more anomalous.

        One program computes it together with the maps: features that both describe by
        the same expression are computed once. The maximum of the map stays the image
        score of the official metrics.

        combined: (B, h, w), what `anomaly_map` returned for these images.
        """

    # A method may have `score_all` too, (detector, images) -> `ScoredImages`: the same
    # maps and scores, where they share what XLA does not find to be the same, as loops.

    def describe(self) -> tuple[str, ...]:
        """Sentences for the report: which weights were used, what was approximated."""

    def describe_fit(self, detector: DetectorState) -> tuple[str, ...]:
        """Sentences for the report on what the training images turned out to be."""
