"""Traced programs as files beside the compiled ones.

What JAX keeps saves the compiling. Tracing, by which it finds what is kept, takes
longer than computing an image; so the traced program is kept too, under a key of all
that it depends on.
"""

import functools
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import re
import sys
import warnings
from collections.abc import Callable

import jax
from etils import epath
from jax import export

from gcad_jax.core.atomic_files import atomic_file
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.compiler_options import compiler_options
from gcad_jax.core.machine.program_folder import CACHE_WARNING
from gcad_jax.core.types import Tree

SUFFIX = ".traced"
_PACKAGES = ("jax", "jaxlib", "flax")
# Options of JAX on which no program depends: where it is kept, and what is said.
_NO_MATTER = ("cache", "log", "traceback", "dump")
_DIGEST = 64  # characters of a SHA-256


def compile_kept(
    function: Callable[..., Tree],
    arguments: tuple[Tree, ...],
    folder: epath.Path,
    identity: str,
    before_compiling: Callable[[], None] = lambda: None,
) -> Callable[..., Tree]:
    """A compiled function, of what an earlier call kept in `folder` where it did.

    function: pure, of trees of arrays; it returns dicts and tuples of arrays, and
        depends on the source of this package, on `identity` and on nothing else.
    arguments: with the shapes of those it will be called with.
    before_compiling: called where nothing is kept.

    A file that is damaged or cannot be written is no error: then it is traced and
    compiled as if it were not there.
    """
    leaves, structure = jax.tree.flatten(arguments)
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    device = jax.devices()[0]
    options = compiler_options(device.platform)
    name = f"kept_{_key(identity, shapes, structure, device)}"
    path = folder / f"{name}{SUFFIX}"
    traced = _read(path)
    if traced is None:
        before_compiling()

        def flat(leaves: list[jax.Array]) -> Tree:
            return function(*jax.tree.unflatten(structure, leaves))

        flat.__name__ = name
        try:
            traced = export.export(jax.jit(flat))(shapes)
        except Exception:  # what cannot be exported can be compiled all the same
            return jax.jit(function, compiler_options=options or None)
        _write(path, traced)

    def call(leaves: list[jax.Array]) -> Tree:
        return traced.call(leaves)

    call.__name__ = name  # the programs that JAX keeps are named for it
    lowered = jax.jit(call).lower(shapes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", CACHE_WARNING)
        compiled = lowered.compile(options or None)
    if any(re.match(CACHE_WARNING, str(warning.message)) for warning in caught):
        # JAX never replaces what it keeps: a damaged program would be read again.
        _remove(folder, name)
    return lambda *trees: compiled(jax.tree.leaves(trees))


def _key(identity: str, *depends: object) -> str:
    """Of all that a traced program depends on, and of what runs it."""
    versions = [importlib.metadata.version(package) for package in _PACKAGES]
    options = [
        (name, value)
        for name, value in sorted(jax.config.values.items())
        if not any(word in name for word in _NO_MATTER)
    ]
    flags = os.environ.get("XLA_FLAGS")
    device = getattr(depends[-1], "device_kind", "")
    parts = (identity, depends, versions, options, flags, device)
    text = "\n".join(map(repr, (*parts, sys.version_info[:2], _cpu(), _source())))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _source() -> str:
    """SHA-256 of all files of this package."""
    digest = hashlib.sha256()
    root = pathlib.Path(__file__).parents[2]
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _cpu() -> str:
    """The kind of processor: a folder may be shared by machines of several kinds."""
    about = pathlib.Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    features = [line for line in lines if line.startswith(("flags", "Features"))]
    return " ".join([platform.machine(), *features[:1]])


def _read(path: epath.Path) -> export.Exported | None:
    """The traced program in a file; None where it is missing or damaged."""
    try:
        content = path.read_bytes()
        digest, program = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(program).hexdigest().encode() != digest:
            return None
        return export.deserialize(bytearray(program))
    except Exception:  # of a disk, of a store, or of another version of JAX
        return None


def _write(path: epath.Path, traced: export.Exported) -> None:
    program = bytes(traced.serialize())
    digest = hashlib.sha256(program).hexdigest().encode()
    try:
        with atomic_file(path) as part:
            part.write_bytes(digest + program)
    except UserError:
        pass  # it is traced again the next time


def _remove(folder: epath.Path, name: str) -> None:
    for path in folder.glob(f"*{name}-*"):
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue
