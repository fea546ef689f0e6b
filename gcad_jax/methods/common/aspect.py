"""What methods share whose images need not be square."""

import dataclasses
from typing import ClassVar

from gcad_jax.core import fields
from gcad_jax.data.image_size import ImageSize, ShortSide, as_pair
from gcad_jax.methods.common.hparams import HParams


@dataclasses.dataclass(eq=False)
class AspectHParams(HParams):
    """Hyper-parameters of a method that takes images of any height and width.

    side_multiple: of which both sides are multiples where the aspect is kept.
    """

    square_only: ClassVar[bool] = False
    side_multiple: ClassVar[int] = 32

    image_size: int | tuple[int, int] = fields.field(  # type: ignore[assignment]
        256, fields.image_sides(32)
    )
    """The input: one side, or (height, width), to which images are zoomed whatever
    their aspect (pixels) [ours]."""
    keep_aspect: bool = fields.field(True)
    """One side is the shorter one, and the longer keeps the aspect of the training
    images, both rounded to multiples of 32 pixels; else the input is a square
    [ours]."""

    @property
    def input_size(self) -> ImageSize:
        """What the data set makes the size of the input of."""
        if isinstance(self.image_size, (tuple, list)):
            return as_pair(self.image_size)
        if self.keep_aspect:
            return ShortSide(self.image_size, self.side_multiple)
        return self.image_size
