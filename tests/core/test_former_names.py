"""Old import paths lead to what has moved; tests/fences has examples that use them."""

import importlib
import sys

import pytest

from gcad_jax.core import former_names


@pytest.mark.parametrize("old", former_names.MOVED)
def test_a_name_is_the_same_object_under_both_paths(old):
    module = importlib.import_module(f"gcad_jax.{old}")
    for new, names in former_names.MOVED[old].items():
        source = importlib.import_module(f"gcad_jax.{new}")
        for name in names.split():
            now, _, then = name.partition("=")
            assert getattr(module, then or now) is getattr(source, now)


def test_other_modules_are_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("gcad_jax.checkz")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("checks")


def test_python_asks_once():
    finders = list(sys.meta_path)
    former_names.install()
    assert sys.meta_path == finders
