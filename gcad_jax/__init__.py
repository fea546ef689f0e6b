"""GCAD and the methods it is compared with, in JAX (Bergmann et al., IJCV 2022).

`gcad_jax.load(workdir)` is the detector of a finished run (`gcad_jax.inference`).
"""

from typing import TYPE_CHECKING, Any

from gcad_jax.core import former_names
from gcad_jax.core.version import __version__ as __version__

former_names.install()

if TYPE_CHECKING:
    from gcad_jax.inference.load import load as load


def __getattr__(name: str) -> Any:
    """`load`, imported when it is asked for: JAX costs a second."""
    if name == "load":
        from gcad_jax.inference.load import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What users of the package find: `load` too, though nothing has asked for it."""
    return [*(name for name in globals() if name != "Any"), "load"]
