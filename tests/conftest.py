"""Settings of every test, and where the real data of some tests are."""

import os
import pathlib

import pytest

# Before JAX starts: four fake devices, so that parity on 1, 2 and 4 can be shown.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The networks of the tests are tiny: they are compiled far longer than they run.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)

import jax

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real images and reference cases; skips where it is not at hand."""
    if not (folder := os.environ.get("GCAD_DATA")):
        pytest.skip("real images are not at hand; set GCAD_DATA to their folder")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def program_cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Compiled programs that the runs in processes of their own share."""
    return tmp_path_factory.mktemp("programs")
