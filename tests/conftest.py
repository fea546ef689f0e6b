"""Settings of every test, and where the real data of some tests are."""

import gc
import importlib.metadata
import os
import pathlib
import tempfile
from collections.abc import Iterator

import pytest

# The networks of the tests are tiny: they are compiled far longer than they run.
QUICKLY = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",
]
if importlib.metadata.version("jaxlib").startswith("0.10."):  # gone in later ones
    QUICKLY.append("--xla_cpu_use_fusion_emitters=false")
PROGRAMS = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config: pytest.Config) -> None:
    """Before JAX starts, here and in the processes that tests start."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", " ".join(QUICKLY))
    # What one test compiled the others need not. It is the first process of pytest
    # that makes the folder and removes it; its workers find the variable set.
    if PROGRAMS not in os.environ:
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        os.environ[PROGRAMS] = folder.name
        config.add_cleanup(folder.cleanup)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

    # Programs of JAX are many objects: looking through all of them, as often as Python
    # does, took a twentieth of the time.
    gc.set_threshold(50_000, 20, 100)

    import jax

    # Four fake devices, so that parity on 1, 2 and 4 can be shown.
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_numpy_rank_promotion", "raise")


# The files that take longest begin, so that no process is left alone with one of them.
FIRST = {
    "test_protocol.py",
    "test_end_to_end.py",
    "test_multihost.py",
    "test_faults.py",
    "test_gcad.py",
    "test_end_to_end_sets.py",
    "test_object_store.py",
    "test_runner.py",
    "test_own_images.py",
    "test_worked_examples.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in FIRST)


def pytest_collection_finish() -> None:
    """What was imported stays, and need not be looked through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _programs_of_a_file() -> Iterator[None]:
    """Traced and compiled programs go with the file whose tests ran them.

    Those of all files are gigabytes, and each `gc.collect()` of a measurement took
    seconds to look through them. What is compiled again is found on the disk.
    """
    import jax

    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True)
def _verbosity() -> Iterator[None]:
    """A command that was quiet leaves no later test of this process quiet."""
    from gcad_jax.core import console

    yield
    console.set_verbosity()


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real images and reference cases; skips where it is not at hand."""
    if not (folder := os.environ.get("GCAD_DATA")):
        pytest.skip("real images are not at hand; set GCAD_DATA to their folder")
    return pathlib.Path(folder)


@pytest.fixture
def refuse(monkeypatch, capsys):
    """Runs a command in this process; returns the sentence with which it ends."""
    from helpers import commands

    def run(name, *arguments):
        return commands.refusal(name, arguments, monkeypatch, capsys)

    return run
