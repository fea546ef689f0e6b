"""The order in which training sees the images: a function of (seed, epoch) alone.

There is no iterator state to save: the batch of any step can be computed afresh, so
a resumed run continues exactly where it stopped. In each epoch an image is seen at
most once; the remainder that does not fill a batch is dropped, and because every
epoch is shuffled anew it is another one each time.
"""

from collections.abc import Iterator

import numpy as np

from gcad_jax.core.errors import UserError


def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:  # (N,) int32
    """The permutation of the images in one epoch (counted from 0)."""
    # The epoch as spawn_key, because entropy (s,) and (s, 0) would be the same stream.
    stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    return stream.permutation(num_images).astype(np.int32)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Full batches in an epoch: num_images // batch_size.

    Raises:
      UserError: a batch size below 1 or above the number of training images.
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1.")
    if batch_size > num_images:
        raise UserError(
            f"batch_size is {batch_size}, but there are only {num_images} training "
            f"images; it must be at most {num_images}."
        )
    return num_images // batch_size


def batches(
    seed: int, first_step: int, batch_size: int, num_images: int
) -> Iterator[np.ndarray]:  # (B,) int32
    """The images of steps first_step, first_step + 1, ... of the training, without end.

    The order is drawn once an epoch; a step then costs a slice of it.
    """
    steps = steps_per_epoch(num_images, batch_size)
    epoch, step = divmod(first_step, steps)
    while True:
        order = epoch_order(seed, epoch, num_images)
        for start in range(step * batch_size, steps * batch_size, batch_size):
            yield order[start : start + batch_size]
        epoch, step = epoch + 1, 0


def seamless_batches(
    seed: int, first_step: int, batch_size: int, num_images: int
) -> Iterator[np.ndarray]:  # (B,) int32
    """Batches of a stream of shuffled epochs without a seam between them.

    For epochs that are counted in images: none is dropped, and a batch may be larger
    than the data set. A function of (seed, step) alone, as `batches`.
    """
    position = first_step * batch_size
    while True:
        epoch, start = divmod(position, num_images)
        rows = epoch_order(seed, epoch, num_images)[start:]
        while len(rows) < batch_size:
            epoch += 1
            rows = np.concatenate([rows, epoch_order(seed, epoch, num_images)])
        yield rows[:batch_size]
        position += batch_size


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
