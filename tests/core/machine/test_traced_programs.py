"""Programs that are kept between the starts of a command."""

import pathlib

import jax
import jaxlib.version
import numpy as np
import pytest
from etils import epath
from jax._src import compilation_cache

from gcad_jax.core.machine import traced_programs
from gcad_jax.core.machine.compiler_options import compiler_options
from gcad_jax.core.machine.program_folder import keep_for_user, user_folder
from gcad_jax.core.machine.traced_programs import SUFFIX, compile_kept

X = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}
OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where programs are kept, of this test alone."""
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    compilation_cache.reset_cache()
    place, _ = keep_for_user(str(tmp_path / "kept"))
    yield place
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def compute(folder, identity="of a test", x=X):
    """The result, and whether it was traced for that."""
    traced = []

    def double(tree, by):
        traced.append(True)
        return {"b": 2 * tree["a"] * by}, tree["a"].sum()

    said = []
    call = compile_kept(
        double, (x, np.float32(3)), folder, identity, lambda: said.append(True)
    )
    result = call(x, np.float32(3))
    assert said == traced
    np.testing.assert_array_equal(result[0]["b"], 6 * x["a"])
    np.testing.assert_array_equal(result[1], x["a"].sum())
    return bool(traced)


def kept(folder, suffix):
    return [path for path in pathlib.Path(folder).iterdir() if suffix in path.name]


def test_the_second_call_is_neither_traced_nor_compiled(folder):
    assert compute(folder)
    compiled = []
    jax.monitoring.register_event_listener(lambda event, **_: compiled.append(event))
    try:
        assert not compute(folder)
    finally:
        jax.monitoring.clear_event_listeners()
    assert "/jax/compilation_cache/cache_hits" in compiled
    assert "/jax/compilation_cache/cache_misses" not in compiled
    assert len(kept(folder, SUFFIX)) == len(kept(folder, "-cache")) == 1


@pytest.mark.parametrize("change", ["identity", "shape", "source", "flags", "cpu"])
def test_what_a_program_depends_on_is_in_its_key(folder, monkeypatch, change):
    assert compute(folder)
    if change == "identity":
        assert compute(folder, "another method")
    if change == "shape":
        assert compute(folder, x={"a": np.ones((4, 3), np.float32)})
    if change == "source":
        monkeypatch.setattr(traced_programs, "_source", lambda: "another version")
        assert compute(folder)
    if change == "flags":
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
        assert compute(folder)
    if change == "cpu":
        monkeypatch.setattr(traced_programs, "_cpu", lambda: "another machine")
        assert compute(folder)


@pytest.mark.parametrize("suffix", [SUFFIX, "-cache"])
@pytest.mark.parametrize("damage", ["half", "zeros", "empty"])
def test_a_damaged_file_is_replaced_in_silence(folder, suffix, damage, recwarn):
    assert compute(folder)
    (path,) = kept(folder, suffix)
    whole = path.read_bytes()
    left = {"half": whole[: len(whole) // 2], "zeros": bytes(len(whole)), "empty": b""}
    path.write_bytes(left[damage])
    compilation_cache.reset_cache()
    assert compute(folder) == (suffix == SUFFIX)
    compute(folder)
    assert not compute(folder)
    (path,) = kept(folder, suffix)
    assert len(path.read_bytes()) > len(whole) // 2
    assert not recwarn.list


def test_a_folder_that_vanishes_or_cannot_be_written_is_no_error(folder, tmp_path):
    (tmp_path / "file").write_text("")
    for blocked in ("/proc/nowhere", str(tmp_path / "file/below")):
        place, sentence = keep_for_user(blocked)
        assert place is None
        assert "\n" not in sentence
        assert blocked in sentence
    assert compute(epath.Path(tmp_path / "file/below"))


def test_nothing_is_kept_where_that_is_asked_for(folder):
    assert keep_for_user("none") == (None, "compiled programs are not kept")
    assert not jax.config.jax_enable_compilation_cache


def test_the_folder_of_the_user(monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_folder() == "~/.cache/gcad_jax/programs"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_folder() == "~/.cache/gcad_jax/programs"
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert user_folder() == "/caches/gcad_jax/programs"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/mine")
    assert user_folder() == "/mine"


def test_options_are_those_of_a_platform_and_xla_knows_them():
    assert compiler_options("tpu") == {}
    lowered = jax.jit(lambda x: x + 1).lower(np.float32(0))
    for platform, names in (("gpu", "xla_gpu_"), ("cpu", "xla_cpu_")):
        options = compiler_options(platform)
        assert options or (
            platform == "cpu" and jaxlib.version.__version_info__ >= (0, 11)
        )
        assert all(name.startswith(names) for name in options)
        # Names and types are those of one list for all platforms.
        assert lowered.compile(options)(np.float32(1)) == 2
    with pytest.raises(Exception, match="No such compile option"):
        lowered.compile({"xla_gpu_no_such_option": False})
