"""How E_glo's skip connections fade out during the training [P 5.2]."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array

NUM_SKIPS = 5  # u, v, w, x, y: one for each halving of the side


class Fade(NamedTuple):
    """Start and length of each skip's linear fade, in tenths of the fading time."""

    starts: tuple[float, ...]
    lengths: tuple[float, ...]


# By name of the schedule; index 0 is u, the skip of the highest resolution.
FADES: Mapping[str, Fade] = {
    # One after another.
    "sequential": Fade(starts=(0, 2, 4, 6, 8), lengths=(2, 2, 2, 2, 2)),
    # All start together, the upper ones end first.
    "staggered": Fade(starts=(0, 0, 0, 0, 0), lengths=(2, 4, 6, 8, 10)),
    # The upper ones start first, the next before the last has ended.
    "overlapping": Fade(starts=(0, 1, 2, 3, 4), lengths=(6, 6, 6, 6, 6)),
}


def skip_weights(
    epoch: Array | float,  # ()
    fade_epochs: float = 100,
    schedule: str = "sequential",
) -> Array:  # (5,)
    """Weights (u, v, w, x, y) of the skips after `epoch` completed epochs [P 5.2].

    They are 1 at the start, fall linearly beginning with the upper levels, and are
    all 0 from `fade_epochs` on. The paper leaves open how the starts are spaced.

    Args:
      epoch: completed epochs; may be traced.
      fade_epochs: epochs until all are 0; 0 for no skips from the start.
      schedule: 'sequential', 'staggered' or 'overlapping'.

    Raises:
      UserError: for an unknown schedule or a negative `fade_epochs`.
    """
    one_of("skip_schedule", schedule, FADES)
    if fade_epochs < 0:
        raise UserError(f"fade_epochs is {fade_epochs}; it must be 0 or more.")
    if fade_epochs == 0:
        return jnp.zeros((NUM_SKIPS,), jnp.float32)
    tenths = np.asarray(FADES[schedule]) * fade_epochs / 10
    starts, lengths = (jnp.asarray(v, jnp.float32) for v in tenths)
    ends = jnp.asarray(tenths.sum(axis=0), jnp.float32)
    epoch = jnp.asarray(epoch, jnp.float32)
    weights = jnp.clip(1 - (epoch - starts) / lengths, 0.0, 1.0)
    # Compiled, the division rounds: without this, 1e-7 of a skip stays for ever.
    return jnp.where(epoch < ends, weights, 0.0)
