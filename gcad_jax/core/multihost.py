"""Several processes that work on one command, one a host, and what they agree on.

Every process runs the same program with the same flags. All compute and read; the
first one writes and speaks. What one process alone can see, a clock, a signal, a file
that is or is not there, is told to all before they act on it: processes that do not
make the same calls wait for each other forever.

Alone, every function here does the plain thing.
"""

import importlib.util
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np

from gcad_jax.core.errors import UserError

T = TypeVar("T")

# How many processes a launcher started, as it says itself.
STARTED_BY = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
NO_CLUSTER = "coordinator_address should be defined"  # what JAX says without one
FIELDS = ("coordinator", "num_processes", "process_id")
TOGETHER = "give coordinator=HOST:PORT num_processes=N process_id=I together"


def join(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the other processes of the command; call it before anything uses JAX.

    coordinator: "HOST:PORT" of the first process, where every other reaches it.
    num_processes: of the command; 1 stays alone whatever started it; None finds out:
        Cloud TPU, SLURM, Open MPI and indexed jobs of Kubernetes say how many.
    process_id: from 0, the first, to num_processes - 1.

    Raises:
      UserError: values that do not belong together, or that cannot be joined.
    """
    coordinator, num_processes = coordinator or "", num_processes or 0
    process_id = -1 if process_id is None else process_id
    given = bool(coordinator), num_processes > 1, process_id >= 0
    if any(given) and not all(given) and not (num_processes == 1 and not given[0]):
        raise UserError(
            f"There are coordinator={coordinator!r}, num_processes={num_processes} and "
            f"process_id={process_id}; {TOGETHER}, or none of them.",
            *FIELDS,
        )
    if coordinator and not coordinator.rpartition(":")[2].isdigit():
        raise UserError(
            f"coordinator={coordinator!r} must be HOST:PORT of the first process, "
            "such as host0:8476.",
            *FIELDS,
        )
    if all(given) and process_id >= num_processes:
        raise UserError(
            f"process_id={process_id} is too large; of {num_processes} processes the "
            f"last is {num_processes - 1}.",
            *FIELDS,
        )
    # JAX may find others by itself: it knows some launchers, and Cloud TPU.
    launched = _has_launcher() or importlib.util.find_spec("libtpu")
    if num_processes == 1 or not (all(given) or launched):
        return
    # It would take SIGTERM, which is to end a process that has nothing to save yet.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        if all(given):
            jax.distributed.initialize(coordinator, num_processes, process_id)
        else:
            jax.distributed.initialize()
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        if not any(given) and not _has_launcher() and NO_CLUSTER in reason:
            return  # libtpu is installed, but this is no host of a TPU
        raise UserError(
            f"the other processes of this command cannot be joined ({reason}); start "
            f"all of them within five minutes and {TOGETHER}, or give "
            "num_processes=1 to run alone.",
            *FIELDS,
        ) from error


def _has_launcher() -> bool:
    """Whether a launcher says that it started several processes."""
    if any(int(os.environ.get(name) or 1) > 1 for name in STARTED_BY):
        return True
    # A pod of an indexed job; JAX asks Kubernetes through this package.
    in_a_job = "JOB_COMPLETION_INDEX" in os.environ
    return in_a_job and importlib.util.find_spec("kubernetes") is not None


def num_processes() -> int:
    """How many processes there are; does not start JAX's devices where it is alone."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return num_processes() == 1 or jax.process_index() == 0


# What the libraries of collectives say when one that takes part has gone.
_GONE = ("Gloo", "NCCL", "heartbeat", "oordination service", "Barrier", "UNAVAILABLE")


def is_lost(error: Exception) -> bool:
    """Whether an error of the runtime says that another process has gone."""
    return any(word in str(error) for word in _GONE)


def exit_process(text: str, code: int) -> NoReturn:
    """Ends the process without waiting for the others."""
    print(text, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)


def check_alone(what: str) -> None:
    """Raises UserError for what runs on one host only."""
    if num_processes() > 1:
        raise UserError(
            f"{what} runs on one host, and this command on {num_processes()}; start it "
            "on one, with num_processes=1.",
            *FIELDS,
        )


def shard_of(number: int) -> range:
    """Which of `number` equal pieces of work are this process's."""
    return range(
        jax.process_index() if num_processes() > 1 else 0, number, num_processes()
    )


def all_gather(value: T) -> list[T]:
    """The values of all processes, in their order; every process must call it."""
    if num_processes() == 1:
        return [value]
    from jax.experimental import multihost_utils

    data = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray([data.size], np.int32))
    # A power of two: every other length would compile a program of its own.
    length = 1 << max(10, int(sizes.max() - 1).bit_length())
    padded = np.zeros(length, np.uint8)
    padded[: data.size] = data
    rows = multihost_utils.process_allgather(padded)
    return [
        pickle.loads(row[: int(size)].tobytes())
        for row, size in zip(rows, sizes.ravel(), strict=True)
    ]


def run_on_all(function: Callable[[], T]) -> T:
    """What `function` returns here, once it has returned on every process.

    Raises:
      UserError: that of the first process that has one, on all of them.
    """
    if num_processes() == 1:
        return function()
    result, error = _result_or_error(function)
    for other in all_gather(error):
        if other is not None:
            raise _mark_agreed(other)
    return result


def run_on_first(function: Callable[[], T]) -> T:
    """What `function` returns on the first process, which alone calls it.

    For what must be written once, and for every question to the file system whose
    answer decides what happens next.

    Raises:
      UserError: its, on all processes.
    """
    if num_processes() == 1:
        return function()
    result, error = _result_or_error(function) if is_first() else (None, None)
    result, error = all_gather((result, error))[0]
    if error is not None:
        raise _mark_agreed(error)
    return result  # type: ignore[return-value]


def is_mine(error: UserError) -> bool:
    """Whether this process alone has the error, and the others go on without it."""
    return num_processes() > 1 and not error.agreed


def _mark_agreed(error: UserError) -> UserError:
    error.agreed = True
    return error


def _result_or_error(function: Callable[[], T]) -> tuple[T | Any, UserError | None]:
    try:
        return function(), None
    except UserError as error:
        return None, error


def check_equal(value: Any, what: str) -> None:
    """Raises UserError where the processes do not have the same value.

    what: "the images of pushpins".
    """
    values = all_gather(value)
    differing = [i for i, other in enumerate(values) if other != values[0]]
    if differing:
        raise _mark_agreed(
            UserError(
                f"{what} of process {differing[0]} are not those of process 0; give "
                "all hosts the same files, flags and versions."
            )
        )
