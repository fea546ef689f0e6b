"""The error of a user, and the errors of libraries in one line."""

import contextlib
import re
from collections.abc import Callable, Iterator


class UserError(ValueError):
    """A mistake in the user's input: printed as one sentence, without a traceback.

    The sentence names the file or the field, what was found, what is allowed and
    what to do. Where it tells to set a field it writes NAME=VALUE, with the name by
    which Python knows it: "set data.root=FOLDER". Whoever has another name for it, a
    flag of a command, puts that in its place by `rename_fields`.

    fields: of these names.
    agreed: whether every process of the command raises it at the same place
        (`multihost.py`); with one that has it alone the others cannot go on.
    """

    agreed = False

    def __init__(self, sentence: str, *fields: str) -> None:
        super().__init__(sentence)
        self.fields = fields

    def rename_fields(self, rename: Callable[[str], str]) -> None:
        """Gives each of `fields` another name, in the sentence too."""
        if self.fields:
            names = "|".join(map(re.escape, sorted(self.fields, key=len)[::-1]))
            pattern = re.compile(rf"(?<![\w./-])({names})(?==)")
            self.args = (pattern.sub(lambda match: rename(match[0]), str(self)),)
            self.fields = tuple(map(rename, self.fields))


def one_line(error: Exception) -> str:
    """In one line: what the system says, or else the first line of what is said."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def is_out_of_memory(error: Exception) -> bool:
    """Whether a program did not fit into the memory of the device."""
    import jax  # here, as the help of a command does without

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
