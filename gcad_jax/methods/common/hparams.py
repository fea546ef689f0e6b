"""The hyper-parameters that methods share, their ranges, and what a report says."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp

from gcad_jax.core import fields
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import (
    COMPUTE_TYPES,
    MAP_MAXIMUM,
    AnomalyMaps,
    Images,
    ImageScores,
)
from gcad_jax.data.image_size import ImageSize
from gcad_jax.methods.base import DetectorState
from gcad_jax.methods.common.image_score import OWN, map_maximum
from gcad_jax.models.layers.init import scaled


@dataclasses.dataclass(eq=False)
class HParams:
    """Hyper-parameters of any method. Not a method: those never inherit from another.

    A subclass repeats a field to give it another default, by `fields.changed`.
    """

    title: ClassVar[str]
    channels: ClassVar[int] = 3
    square_only: ClassVar[bool] = True  # `AspectHParams` takes any height and width

    image_size: int = fields.field(256, fields.image_side(32))
    """Side of the square input (pixels) [P 5.2]."""
    inference_batch_size: int = fields.field(8, fields.BATCH)
    """Size of one call outside training (images) [ours]."""

    @property
    def input_size(self) -> ImageSize:
        """What the data set makes the size of the input of: here a square."""
        return self.image_size

    @property
    def image_score_name(self) -> str:
        """What `image_scores` are; a method that gives others names them."""
        is_maximum = type(self).image_scores is HParams.image_scores
        return MAP_MAXIMUM if is_maximum else OWN

    def image_scores(
        self, detector: DetectorState, images: Images, combined: AnomalyMaps
    ) -> ImageScores:
        """The maximum of each combined map; (B, h, w) -> (B,)."""
        return map_maximum(combined)

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        if self.square_only and isinstance(self.image_size, (tuple, list)):
            raise UserError(
                f"image_size is {self.image_size}, but {self.title} takes squares "
                "alone: give one side, such as "
                f"image_size={self.image_size[0] if self.image_size else 256}."
            )
        fields.validate_fields(self)

    def describe(self) -> tuple[str, ...]:
        """What differs from the paper in this run."""
        return (deviations(self),)

    def describe_fit(self, detector: DetectorState) -> tuple[str, ...]:
        """Nothing."""
        return ()


@dataclasses.dataclass(eq=False)
class TrainedHParams(HParams):
    """Hyper-parameters of a method whose networks are trained."""

    epochs: int = fields.field(500, fields.POSITIVE)
    """Passes over the training images (epochs) [P 5.2]."""
    batch_size: int = fields.field(16, fields.BATCH)
    """Examples of an update (images) [P 5.2]."""
    learning_rate: float = fields.field(1e-4, fields.POSITIVE)
    """Adam's rate at the beginning [P 5.2]."""
    precision: str = fields.field("float32", fields.choices(*COMPUTE_TYPES))
    """Of the networks' arithmetic; parameters, losses and scores are float32 [ours]."""
    augmented: bool = fields.field(True, fields.ANYTHING)
    """Train on augmented images [P 5.1]."""

    @property
    def dtype(self) -> jnp.dtype:
        """Type of the networks' arithmetic."""
        return COMPUTE_TYPES[self.precision]


@dataclasses.dataclass(eq=False)
class AdamHParams(TrainedHParams):
    """Those of a method that trains by Adam with decay, each image once an epoch."""

    samples_per_epoch: ClassVar[int | None] = None

    final_learning_rate: float = fields.field(1.0, fields.NOT_NEGATIVE)
    """The fraction of it at the end of a half-cosine decay; 1 keeps the rate constant
    [ours: P 5.2 names the initial rate alone]."""
    weight_decay: float = fields.field(1e-5, fields.NOT_NEGATIVE)
    """L2 added to the gradient before Adam, as PyTorch does [P 5.2]."""


def scaled_widths(name: str, widths: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """Widths of layers times a factor, each a whole number of channels.

    Raises:
      UserError: so many channels that no such layer can be made.
    """
    products = tuple(scaled(width, factor) for width in widths)
    if max(products, default=0) > (fields.CHANNELS.at_most or 0):
        raise UserError(
            f"{name} is {widths}, with a factor of {factor:g}: a layer of "
            f"{max(products)} channels; make one of them smaller, for at most "
            f"{fields.CHANNELS.at_most}."
        )
    return products


def deviations(
    method: HParams, paper: Mapping[str, object] | None = None, without: str = ""
) -> str:
    """The fields that are not the paper's, as a sentence.

    paper: the paper's values of fields whose defaults are others. without: a field
    that another sentence names.
    """
    values = {**dataclasses.asdict(type(method)()), **(paper or {})}
    return "Settings: the paper's" + _except(method, values, without)


def settings_sentence(method: HParams) -> str:
    """The fields that are not their defaults, of a method that the paper has not."""
    defaults = dataclasses.asdict(type(method)())
    return "Settings: the defaults" + _except(method, defaults)


def _except(method: HParams, values: Mapping[str, object], without: str = "") -> str:
    others = ", ".join(
        f"{name} {getattr(method, name)}"
        for name, value in values.items()
        if name != without and getattr(method, name) != value
    )
    return f", except {others}." if others else "."
