"""Holding out validation images where a data set brings none."""

import numpy as np

from gcad_jax.checks import UserError


def split_validation(
    num: int, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images to train on and of those held out, both ascending.

    The held-out share is `fraction` of `num`, rounded, at least one image; at least
    one stays for training. The same arguments give the same split.

    Raises:
      UserError: fewer than two images, a fraction outside (0, 1), a negative seed.
    """
    if not 0.0 < fraction < 1.0:
        raise UserError(
            f"validation_fraction is {fraction}; it must be between 0 and 1, both "
            "excluded, for example 0.1."
        )
    if seed < 0:
        raise UserError(f"split_seed is {seed}; it must be 0 or above.")
    if num < 2:
        raise UserError(
            f"{num} good training image{'' if num == 1 else 's'} cannot be split into "
            "training and validation; at least 2 are needed, add more good images."
        )
    held_out = min(max(int(num * fraction + 0.5), 1), num - 1)
    order = np.random.default_rng(seed).permutation(num)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
