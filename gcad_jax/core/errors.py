"""The error of a user, and what others' errors say in one line."""

import contextlib
from collections.abc import Iterator

import jax


class UserError(ValueError):
    """A mistake in the user's input: printed as one sentence, without a traceback.

    The sentence names the file or the field, what was found, what is allowed and
    what to do.

    agreed: whether every process of the command raises it at the same place
        (`multihost.py`); with one that has it alone the others cannot go on.
    """

    agreed = False


def one_line(error: Exception) -> str:
    """In one line: what the system says, or else the first line of what is said."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def is_out_of_memory(error: Exception) -> bool:
    """Whether a program did not fit into the memory of the device."""
    of_jax = isinstance(error, jax.errors.JaxRuntimeError)
    return of_jax and "RESOURCE_EXHAUSTED" in str(error)


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """What an object store raises, whatever it is, as OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(one_line(error)) from error
