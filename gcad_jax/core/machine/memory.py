"""How the C library keeps memory: set before a command allocates any."""

import ctypes
import sys


def keep_freed_memory() -> None:
    """Has glibc keep the working memory of a step instead of returning it each time.

    XLA on CPU allocates it anew for every step, and fresh memory is written ten times
    as slowly as what was kept (docs/results/cpu_forms.md). Does nothing where there is
    no glibc.
    """
    # From malloc.h: M_TRIM_THRESHOLD (never), M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX.
    options = {-1: -1, -2: 2**28, -4: 0, -8: 1}
    if sys.platform == "linux":
        for option, value in options.items():
            getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)(option, value)
