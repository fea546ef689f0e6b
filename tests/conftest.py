"""Settings of every test, and where the real data of some tests are."""

import os
import pathlib
from collections.abc import Iterator

import pytest

# Before JAX starts: four fake devices, so that parity on 1, 2 and 4 can be shown.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The networks of the tests are tiny: they are compiled far longer than they run.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)

import jax
from jax.experimental.compilation_cache import compilation_cache

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


@pytest.fixture(scope="module")
def compiled_once(program_cache: pathlib.Path) -> Iterator[None]:
    """What one run in this process compiled the others need not."""
    options = {
        "jax_compilation_cache_dir": str(program_cache),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(program_cache))
        for name, value in options.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        yield
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
