"""Operations of GCAD on an image of 256 x 256 pixels, counted layer by layer."""

import dataclasses
from typing import Any

from gcad_jax.methods.base import Method

# 10^9 multiply-adds forward: E_loc in the phase form, and the networks of each p.
E_LOC = {17: 201.914, 33: 115.459, 65: 175.226}
R_LOC, R_GLO, E_GLO, U = 48.700, 48.205, 0.388, 1.653
# What the count was made for.
SIZES: dict[str, Any] = {
    "image_size": 256,
    "d_loc": 128,
    "d_glo": 10,
    "g": 32,
    "branches": ("A_loc", "A_glo"),
    "width": 1.0,
    "E_loc_width": 1.0,
    "E_glo_widths": (32, 32, 64, 64, 128),
    "U_widths": (64, 128),
    "E_loc_arch": "student_teacher",
    "p65_conv3": 256,
    "A_glo_from": "regression",
    "distilled": "E_loc",
}


@dataclasses.dataclass(frozen=True)
class Budget:
    """Floating-point operations of one image, two a multiply-add.

    training: E_loc once, the trained networks three times (joint phase).
    inference: all networks but U once.
    """

    training: float
    inference: float


def budget(method: Method) -> Budget | None:
    """The operations of the paper's networks; None for others."""
    # The longest phase, which is timed, is then the one that is counted.
    if getattr(method, "R_glo_start", 1.0) > 0.5:
        return None
    if any(getattr(method, name, None) != value for name, value in SIZES.items()):
        return None
    P: tuple[int, ...] = method.P  # type: ignore[attr-defined]
    frozen = sum(E_LOC[p] for p in P)
    scored = len(P) * (R_LOC + R_GLO + E_GLO)
    trained = scored + len(P) * U
    return Budget(2e9 * (frozen + 3 * trained), 2e9 * (frozen + scored))
