"""Threads: how many, results in order, bounded queues and bytes, memory of each."""

import collections
import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

S = TypeVar("S")
T = TypeVar("T")

# More threads read no faster than the memory and the disk.
NUM_THREADS = min(8, os.cpu_count() or 1)
# How many calls may wait for each thread, so that memory is bounded.
QUEUE_PER_THREAD = 4


def thread_pool(num_threads: int = 0) -> ThreadPoolExecutor:
    """Threads for NumPy and for files; 0 takes `NUM_THREADS`."""
    return ThreadPoolExecutor(num_threads or NUM_THREADS)


class ByteBudget:
    """Bytes that threads hold together, of what each frees before it waits for others.

    The number of threads follows the cores, and the size of an image the camera: their
    product is bounded here.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Waits until `count` more bytes fit; more than the limit is held alone."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self.held or self.held + count <= self.limit
            )
            self.held += count
        try:
            yield
        finally:
            with self._changed:
                self.held -= count
                self._changed.notify_all()


# Of images and maps at full size, decoded, zoomed or written: two of 24 megapixels.
FULL_SIZE = ByteBudget(500 * 10**6)


def map_in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[S], T],
    items: Iterable[S],
    lookahead: int,
    num_bytes: Callable[[T], int] | None = None,
) -> Iterator[T]:
    """`map` by the threads of a pool, never more than `lookahead` items in front.

    num_bytes: of a result, where they are large: those that wait hold no more than
        `FULL_SIZE` allows, as long as none is larger than all before it.
    """
    pending: collections.deque[Future[T]] = collections.deque()
    largest = 0

    def is_full() -> bool:
        nonlocal largest
        if num_bytes is None:
            return len(pending) > lookahead
        done = [f for f in pending if f.done() and not f.exception()]
        sizes = [max(1, num_bytes(future.result())) for future in done]
        largest = max([largest, *sizes])
        expected = largest or FULL_SIZE.limit // NUM_THREADS  # until the first is there
        held = sum(sizes) + (len(pending) - len(sizes)) * expected
        return len(pending) > lookahead or held > FULL_SIZE.limit

    for item in items:
        pending.append(pool.submit(function, item))
        while pending and is_full():
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@contextlib.contextmanager
def background_calls() -> Iterator[Callable[..., None]]:
    """Yields `submit(function, *arguments)`, which has a thread make the call.

    It blocks where too many calls wait, and raises what an earlier one raised. All are
    done when the block ends, or dropped if it raises.
    """
    pool = thread_pool()
    pending: collections.deque[Future[None]] = collections.deque()

    def submit(function: Callable[..., None], *arguments: Any) -> None:
        pending.append(pool.submit(function, *arguments))
        while len(pending) > QUEUE_PER_THREAD * NUM_THREADS:
            pending.popleft().result()

    try:
        yield submit
        while pending:
            pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


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
        """Uninitialized; the next call of this name and thread returns it again."""
        key, size = (name, np.dtype(dtype)), math.prod(np.atleast_1d(shape).tolist())
        if key not in self._held or self._held[key].size < size:
            self._held[key] = np.empty(size, dtype)
        return self._held[key][:size].reshape(shape)
