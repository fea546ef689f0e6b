"""The layers of every E_loc, and what follows from them: its field, stride and border.

Student-Teacher's networks are those of arXiv 1911.02357, the patch description
networks (PDN) those of EfficientAD (arXiv 2303.14535).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp

from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array

PATCH_SIZES = (17, 33, 65)
STUDENT_TEACHER = "student_teacher"


class Layer(NamedTuple):
    """A convolution (kernel x kernel, VALID), and whether a 2x2 pool follows it."""

    kernel: int
    width: int
    pooled: bool = False


class Arch(NamedTuple):
    """A family of E_loc.

    layers: by patch size: the hidden ones and the last (width 0: d_loc).
    stride_one_pool: 2x2 at stride 1, (B, H, W, C) -> (B, H - 1, W - 1, C).
    d_loc: the dimension that its weights have; None for any.
    """

    layers: Mapping[int, tuple[Layer, ...]]
    stride_one_pool: Callable[[Array], Array]
    d_loc: int | None = None

    @property
    def published(self) -> bool:
        """Whether widths and activation (ReLU) are those of published weights."""
        return self.d_loc is not None


def stride_one_max(x: Array) -> Array:  # (B, H, W, C) -> (B, H - 1, W - 1, C)
    """2x2 maximum at stride 1; slices, because a dilated reduce_window has no VJP."""
    x = jnp.maximum(x[:, :-1], x[:, 1:])
    return jnp.maximum(x[:, :, :-1], x[:, :, 1:])


def stride_one_mean(x: Array) -> Array:  # (B, H, W, C) -> (B, H - 1, W - 1, C)
    """2x2 mean at stride 1."""
    x = x[:, :-1] + x[:, 1:]
    return (x[:, :, :-1] + x[:, :, 1:]) * 0.25


ARCHS: Mapping[str, Arch] = {
    STUDENT_TEACHER: Arch(
        {
            17: (Layer(6, 128), Layer(5, 256), Layer(5, 256), Layer(4, 0)),
            33: (
                Layer(5, 128, True),
                Layer(5, 256, True),
                Layer(2, 256),
                Layer(4, 0),
            ),
            # The published table gives conv3 128 channels, the pool after it 256, and
            # the last convolution a 3x3 kernel on a 1x1 map. 256 and 1x1 are
            # consistent.
            65: (
                Layer(5, 128, True),
                Layer(5, 128, True),
                Layer(5, 256, True),
                Layer(4, 256),
                Layer(1, 0),
            ),
        },
        stride_one_max,
    ),
    "pdn_small": Arch(
        {
            33: (
                Layer(4, 128, True),
                Layer(4, 256, True),
                Layer(3, 256),
                Layer(4, 0),
            ),
        },
        stride_one_mean,
        d_loc=384,
    ),
    "pdn_medium": Arch(
        {
            33: (
                Layer(4, 256, True),
                Layer(4, 512, True),
                Layer(1, 512),
                Layer(3, 512),
                Layer(4, 384),
                Layer(1, 0),
            ),
        },
        stride_one_mean,
        d_loc=384,
    ),
}
PDNS = tuple(name for name, arch in ARCHS.items() if arch.published)


def layers(
    p: int, arch: str = STUDENT_TEACHER, p65_conv3: int = 256
) -> tuple[Layer, ...]:
    """The hidden layers and the last one (width 0: d_loc); p65_conv3 is for p = 65.

    Raises:
      UserError: if there is no such architecture, or it has no such p.
    """
    one_of("The architecture of E_loc", arch, ARCHS)
    tables = ARCHS[arch].layers
    if p not in tables:
        allowed = ", ".join(map(str, tables))
        raise UserError(f"The patch size p of {arch} is {p}; allowed are {allowed}.")
    if p != 65:
        return tables[p]
    first, second, third, *others = tables[p]
    return (first, second, third._replace(width=p65_conv3), *others)


def receptive_field(p: int, arch: str = STUDENT_TEACHER) -> int:
    """Side in pixels of what a descriptor depends on: 17, 32, 60 for p = 17, 33, 65.

    Smaller than p where the pools of the patch form drop a last odd row; 33 for the
    PDNs, which drop none.
    """
    side, step = 1, 1
    for layer in layers(p, arch):
        side += (layer.kernel - 1) * step
        if layer.pooled:
            side += step
            step *= 2
    return side


def stride(p: int, arch: str = STUDENT_TEACHER) -> int:
    """Pixels between the descriptors that one window gives: 1, 4, 8; 4 for the PDNs."""
    return int(2 ** sum(layer.pooled for layer in layers(p, arch)))


def padding(p: int, arch: str = STUDENT_TEACHER) -> tuple[int, int]:
    """Border pixels (before, after) of each axis; a patch is centered on its pixel."""
    before = p // 2
    return before, receptive_field(p, arch) - 1 - before
