"""Threads that share out the maps of a category, and the memory of each."""

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

MOST = 8  # more threads read no faster than the memory


def pool(workers: int = 0) -> ThreadPoolExecutor:
    """Threads for NumPy and for files; 0 takes one for each processor, at most 8."""
    return ThreadPoolExecutor(workers or min(MOST, os.cpu_count() or 1))


class Scratch(threading.local):
    """Arrays that a thread fills anew for every map; each thread has its own.

    Fresh arrays of the size of a map cost more, in page faults, than what is computed
    with them.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, np.dtype], np.ndarray] = {}

    def array(
        self, name: str, shape: int | tuple[int, ...], dtype: npt.DTypeLike
    ) -> np.ndarray:
        """Uninitialised; the next call of this name and thread returns it again."""
        key, size = (name, np.dtype(dtype)), math.prod(np.atleast_1d(shape).tolist())
        if key not in self._held or self._held[key].size < size:
            self._held[key] = np.empty(size, dtype)
        return self._held[key][:size].reshape(shape)
