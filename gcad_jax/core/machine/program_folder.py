"""Where compiled programs are kept, so that the next start need not compile them."""

import os
import warnings

import jax
from etils import epath

from gcad_jax.core.atomic_files import check_writable
from gcad_jax.core.console import verbosity
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, is_local, make_folder

OF_WORKDIR = ".programs"
OF_USER = "gcad_jax/programs"  # in the folder of the user's caches
# JAX's own variable: a folder that it names holds everything.
VARIABLE = "JAX_COMPILATION_CACHE_DIR"
NOWHERE = "none"  # in place of a folder
# How JAX's warnings of its cache begin; what is not kept is compiled.
CACHE_WARNING = r"Error (reading|writing) persistent compilation cache"


def keep_in_workdir(folder: epath.Path) -> None:
    """Keeps compiled programs in a workdir: a resumed run need not compile again."""
    if not os.environ.get(VARIABLE):
        _keep_in(folder / OF_WORKDIR)


def keep_for_user(folder: str | None) -> tuple[epath.Path | None, str]:
    """Keeps compiled programs of a command that has no workdir of its own.

    folder: where, or `NOWHERE`; `user_folder` where it is left out.

    Returns the folder, None where nothing is kept, and a sentence about it: why one
    that cannot be written is not used, which is no error.
    """
    if not verbosity.verbose:
        warnings.filterwarnings("ignore", CACHE_WARNING)
    if folder == NOWHERE:
        jax.config.update("jax_enable_compilation_cache", False)
        return None, "compiled programs are not kept"
    place = as_path(folder or user_folder()).expanduser()
    try:
        check_writable(place, (), "programs")
        if is_local(place):
            make_folder(place)
    except (UserError, OSError) as error:
        if not os.environ.get(VARIABLE):
            jax.config.update("jax_enable_compilation_cache", False)
        return None, f"compiled programs are not kept: {error}"
    _keep_in(place)
    # The programs of a detector are few, and each is waited for at the next start.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return place, f"{place} keeps compiled programs for the next call"


def user_folder() -> str:
    """That of JAX's variable, else one in the user's caches (XDG_CACHE_HOME)."""
    if folder := os.environ.get(VARIABLE):
        return folder
    # A relative one is to be ignored (XDG Base Directory Specification).
    base = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else "~/.cache", OF_USER)


def _keep_in(folder: epath.Path) -> None:
    jax.config.update("jax_compilation_cache_dir", os.fspath(folder))
    if not is_local(folder):
        # XLA itself, which would keep tuned kernels of GPUs there, knows disks alone.
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
