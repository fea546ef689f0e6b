"""SIGTERM: a cluster that takes its machine back, or a user who stops a run."""

import signal
from types import FrameType


class Preempted(Exception):
    """Training stopped on SIGTERM after it saved; the same command continues it."""


class Preemption:
    """Within the `with` block SIGTERM only sets `requested`; the loop then saves."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "Preemption":
        self._before = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True
